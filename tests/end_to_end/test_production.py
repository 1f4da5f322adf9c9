"""The stack with production's parameters, except those that the emulator does not support.

Users sign in with Cognito, and their groups are their roles. Stripe's key is in Secrets Manager.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest

from command_line.errors import CommandError
from delivery.rendering import SAMCONFIG
from delivery.samconfig import saved_parameters
from dummy_stripe.events import sign
from local.emulator.deploy import STACK_NAME
from local.emulator.process import Emulator
from local.stack import Stack, start_stack
from operations.deployed_stack import DeployedStack
from order_payments.runtime.clock import utc_now
from order_payments.stripe_adapter.secrets import SECRET_COOL_DOWN_SECONDS
from tests.support.http_shop import HttpShop
from tests.support.shop import Reply
from tests.support.user_pool import (
    COGNITO_PARAMETERS,
    PASSWORD,
    UserPool,
    buy_tea,
    offer_tea,
    point_authorizer_at_emulator,
)

UNSUPPORTED_BY_EMULATOR = {
    "GradualDeployment": "false",  # no CodeDeploy
    "EventArchiveDays": "0",  # no archives in a template
    "AlarmOnSilence": "off",  # no metric math in an alarm
    "StripeBackend": "dummy",  # no access to Stripe
    "PaymentsPerCaller": "0",  # no web ACL associations in a template
}


SECRET = "order-payments/stripe"


def secret_value(number: int) -> str:
    return json.dumps({"secretKey": f"sk_test_Planted{number}", "webhookSecret": f"whsec_Planted{number}"})


def production(emulator: Emulator) -> Mapping[str, str]:
    """Return production's parameters. Creates the secret and the alarm topic on the emulator."""
    with closing(emulator.client("secretsmanager")) as secrets, closing(emulator.client("sns")) as sns:
        secret = secrets.create_secret(Name=SECRET, SecretString=secret_value(1))["ARN"]
        topic = sns.create_topic(Name="alarms")["TopicArn"]
    return {
        **COGNITO_PARAMETERS,
        "StripeSecretKey": "",
        "StripeWebhookSecret": "",
        **saved_parameters(SAMCONFIG, "production"),
        **UNSUPPORTED_BY_EMULATOR,
        "StripeSecretArn": secret,
        "AlarmTopicArn": topic,
        "PaymentsPerSecond": "100",
        "CorsAllowedOrigins": "https://shop.example",
    }


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with start_stack(
        state=tmp_path_factory.mktemp("production"), parameters=production, enforce_policies=True
    ) as running:
        yield running


@pytest.fixture(scope="module")
def users(stack: Stack) -> Iterator[UserPool]:
    with closing(UserPool(stack)) as pool:
        yield pool


@pytest.fixture(scope="module")
def buyer(users: UserPool) -> str:
    """Return the token of a buyer who signed in."""
    return users.tokens("alice@example.com", "buyer")["AccessToken"]


@pytest.fixture(scope="module")
def early_reply(shop: HttpShop, buyer: str) -> Reply:
    """Return the reply to a buyer's token before the authorizer can fetch the pool's keys."""
    return shop.send_with(buyer, "GET", "/products")


@pytest.fixture(scope="module")
def admin(stack: Stack, shop: HttpShop, users: UserPool, early_reply: Reply) -> str:
    """Let the authorizer fetch the pool's keys, sign an admin in, create the product `tea`, and return the token."""
    assert early_reply
    # The webhook fetches the secret at its start, and again only after a cool-down. The rotation test waits for it.
    assert send_event(shop, 1) == 200
    point_authorizer_at_emulator(stack)
    token = users.tokens("ada@example.com", "admin")["AccessToken"]
    offer_tea(shop, token)
    return token


def call_aws(stack: Stack, service: str, operation: str, **request: Any) -> dict[str, Any]:
    with closing(stack.client(service)) as client:
        answer: dict[str, Any] = getattr(client, operation)(**request)
        return answer


def send_event(shop: HttpShop, number: int) -> int:
    """Send the webhook an event about no order, signed with the secret of this number. Return the status."""
    body = json.dumps({"id": "evt_1", "type": "charge.updated", "data": {"object": {}}})
    signature = sign(body.encode(), f"whsec_Planted{number}", int(utc_now().timestamp()))
    headers = {"Stripe-Signature": signature}
    return shop.send_with(None, "POST", "/webhooks/stripe", content=body, headers=headers).status


@pytest.mark.usefixtures("admin")
def test_token_fails_with_500_until_the_issuers_keys_can_be_fetched(
    shop: HttpShop, early_reply: Reply, buyer: str
) -> None:
    assert (early_reply.status, early_reply.code) == (500, "internal_error")
    # API Gateway does not cache the failure.
    assert shop.send_with(buyer, "GET", "/products").status == 200


def test_cognito_buyer_orders_and_pays(shop: HttpShop, buyer: str, admin: str) -> None:
    placed, paid = buy_tea(shop, buyer)

    assert (placed.status, paid.status, paid.body["status"]) == (201, 200, "confirmed")
    assert shop.send_with(admin, "GET", f"/orders/{placed.body['orderId']}/status").status == 200


@pytest.mark.usefixtures("admin")
def test_groups_are_the_users_roles(shop: HttpShop, users: UserPool) -> None:
    order = '{"items":[{"productId":"tea","quantity":1}]}'
    seller = users.tokens("sam@example.com", "seller")["AccessToken"]
    user_without_group = users.tokens("noah@example.com")["AccessToken"]

    for token in (seller, user_without_group):
        assert shop.send_with(token, "GET", "/products").status == 200
        assert shop.send_with(token, "POST", "/orders", content=order).status == 403
        assert shop.send_with(token, "PUT", "/admin/products/tea", content="{}").status == 403


@pytest.mark.usefixtures("admin")
def test_operator_creates_a_user_and_gets_a_token(shop: HttpShop, stack: Stack) -> None:
    with closing(stack.client("cloudformation")) as stacks, closing(stack.client("cognito-idp")) as cognito:
        users = DeployedStack(STACK_NAME, {"cloudformation": stacks, "cognito-idp": cognito}.__getitem__).user_pool()
        users.create_user("olga@example.com", PASSWORD, "buyer")
        token = users.access_token("olga@example.com", PASSWORD)

        with pytest.raises(CommandError, match="was not signed in"):
            users.access_token("olga@example.com", "Wrong-Horse-7")
        with pytest.raises(CommandError, match="was not created"):
            users.create_user("olga@example.com", PASSWORD, "admin")

    assert shop.send_with(token, "GET", "/orders").status == 200


@pytest.mark.usefixtures("admin")
def test_other_tokens_of_the_pool_are_unauthorized(shop: HttpShop, users: UserPool, stack: Stack) -> None:
    tokens = users.tokens("bob@example.com", "buyer")
    of_another_app = users.tokens("carol@example.com", "buyer", app="another")["AccessToken"]
    head, payload, signature = tokens["AccessToken"].split(".")
    tampered = f"{head}.{payload}.{signature[:-6]}AAAAAA"

    for token in (tokens["IdToken"], tokens["RefreshToken"], of_another_app, tampered, stack.tokens["buyer"]):
        assert shop.send_with(token, "GET", "/products").status == 401


def test_tables_are_protected_from_deletion(stack: Stack) -> None:
    for table in (stack.deployment.orders_table, stack.deployment.products_table):
        assert call_aws(stack, "dynamodb", "describe_table", TableName=table)["Table"]["DeletionProtectionEnabled"]
        with pytest.raises(Exception, match="protect"):
            call_aws(stack, "dynamodb", "delete_table", TableName=table)


def test_log_retention_is_one_year(stack: Stack) -> None:
    groups = call_aws(stack, "logs", "describe_log_groups")["logGroups"]

    retention = {group["logGroupName"]: group.get("retentionInDays") for group in groups}
    assert retention[f"/aws/lambda/{STACK_NAME}"] == retention[f"/aws/apigateway/{STACK_NAME}"] == 365


def test_every_alarm_notifies_the_topic(stack: Stack) -> None:
    alarms = call_aws(stack, "cloudwatch", "describe_alarms")["MetricAlarms"]

    assert len(alarms) > 20
    assert {action.rpartition(":")[2] for alarm in alarms for action in alarm["AlarmActions"]} == {"alarms"}
    assert all(alarm["AlarmActions"] == alarm["OKActions"] != [] for alarm in alarms)


def test_dashboard_has_widgets_and_no_unresolved_placeholder(stack: Stack) -> None:
    body = call_aws(stack, "cloudwatch", "get_dashboard", DashboardName=STACK_NAME)["DashboardBody"]

    widgets = json.loads(body)["widgets"]
    assert {widget["type"] for widget in widgets} >= {"alarm", "metric"}
    assert set(re.findall(r"\$\{[^}]*}", body)) <= {"${PROP('Dim.reason')}"}  # resolved by CloudWatch


@pytest.mark.usefixtures("admin")
def test_stripe_key_is_in_no_environment_and_no_log(stack: Stack, shop: HttpShop, buyer: str) -> None:
    assert buy_tea(shop, buyer)[1].status == 200

    environments = json.dumps(
        [each.get("Environment") for each in call_aws(stack, "lambda", "list_functions")["Functions"]]
    )

    assert "Planted" not in environments
    assert "Planted" not in stack.function_logs()


@pytest.mark.usefixtures("admin")
def test_rotated_secret_is_used_without_a_deployment(stack: Stack, shop: HttpShop, buyer: str) -> None:
    call_aws(stack, "secretsmanager", "put_secret_value", SecretId=SECRET, SecretString=secret_value(2))
    rotated = utc_now()

    # A function fetches the secret again only after the cool-down. Most of it has passed during earlier tests.
    while send_event(shop, 2) != 200:
        assert (utc_now() - rotated).total_seconds() < 2 * SECRET_COOL_DOWN_SECONDS
        time.sleep(0.5)
    assert send_event(shop, 1) == 400
    _, paid = buy_tea(shop, buyer)
    assert paid.status == 200
