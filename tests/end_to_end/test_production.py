"""The stack with production's parameters, as far as the emulator supports them.

Users sign in with Cognito, and their groups are their roles. Stripe's key is in Secrets Manager.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest

from delivery.release import saved_parameters
from delivery.rendering import SAMCONFIG
from dummy_stripe.events import sign
from local.emulator.deploy import STACK_NAME
from local.emulator.process import Emulator
from local.stack import Stack, start_stack
from order_payments.runtime.clock import utc_now
from order_payments.stripe_adapter.secrets import SECRET_COOL_DOWN_SECONDS
from tests.support.http_shop import HttpShop
from tests.support.shop import Reply
from tests.support.user_pool import (
    COGNITO_PARAMETERS,
    UserPool,
    buy_tea,
    offer_tea,
    point_authorizer_at_emulator,
)

UNKNOWN_TO_THE_EMULATOR = {
    "GradualDeployment": "false",  # it has no CodeDeploy
    "EventArchiveDays": "0",  # nor archives in a template
    "AlarmOnSilence": "off",  # nor metric math in an alarm
    "StripeBackend": "dummy",  # and nothing here reaches Stripe
    "PaymentsPerCaller": "0",  # nor can a template associate a web ACL
}


SECRET = "order-payments/stripe"


def secret_value(number: int) -> str:
    return json.dumps({"secretKey": f"sk_test_Planted{number}", "webhookSecret": f"whsec_Planted{number}"})


def production(emulator: Emulator) -> Mapping[str, str]:
    """Production's parameters, with the account's own things made on the emulator."""
    with closing(emulator.client("secretsmanager")) as secrets, closing(emulator.client("sns")) as sns:
        secret = secrets.create_secret(Name=SECRET, SecretString=secret_value(1))["ARN"]
        topic = sns.create_topic(Name="alarms")["TopicArn"]
    return {
        **COGNITO_PARAMETERS,
        "StripeSecretKey": "",
        "StripeWebhookSecret": "",
        **saved_parameters(SAMCONFIG, "production"),
        **UNKNOWN_TO_THE_EMULATOR,
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
    """The token of a buyer who signed in."""
    return users.tokens("alice@example.com", "buyer")["AccessToken"]


@pytest.fixture(scope="module")
def early(shop: HttpShop, buyer: str) -> Reply:
    """The reply to a buyer's token before the authorizer can fetch the pool's keys."""
    return shop.send_with(buyer, "GET", "/products")


@pytest.fixture(scope="module")
def admin(stack: Stack, shop: HttpShop, users: UserPool, early: Reply) -> str:
    """The token of an administrator who signed in after the authorizer could fetch the pool's keys, and offers tea."""
    assert early
    # The webhook fetches the secret when it starts, and waits before it fetches again: see the test of rotation.
    assert tell(shop, 1) == 200
    point_authorizer_at_emulator(stack)
    token = users.tokens("ada@example.com", "admin")["AccessToken"]
    offer_tea(shop, token)
    return token


def described(stack: Stack, service: str, operation: str, **request: Any) -> dict[str, Any]:
    with closing(stack.client(service)) as client:
        answer: dict[str, Any] = getattr(client, operation)(**request)
        return answer


def tell(shop: HttpShop, number: int) -> int:
    """Send the webhook an event about no order, signed with the secret of this number. Return the status."""
    body = json.dumps({"id": "evt_1", "type": "charge.updated", "data": {"object": {}}})
    signature = sign(body.encode(), f"whsec_Planted{number}", int(utc_now().timestamp()))
    headers = {"Stripe-Signature": signature}
    return shop.send_with(None, "POST", "/webhooks/stripe", content=body, headers=headers).status


@pytest.mark.usefixtures("admin")
def test_token_fails_with_500_until_the_issuers_keys_can_be_fetched(shop: HttpShop, early: Reply, buyer: str) -> None:
    assert (early.status, early.code) == (500, "internal_error")
    # API Gateway does not cache the failure.
    assert shop.send_with(buyer, "GET", "/products").status == 200


def test_a_buyer_who_signed_in_with_cognito_orders_and_pays(shop: HttpShop, buyer: str, admin: str) -> None:
    placed, paid = buy_tea(shop, buyer)

    assert (placed.status, paid.status, paid.body["status"]) == (201, 200, "confirmed")
    assert shop.send_with(admin, "GET", f"/orders/{placed.body['orderId']}/status").status == 200


@pytest.mark.usefixtures("admin")
def test_groups_say_what_a_user_may(shop: HttpShop, users: UserPool) -> None:
    order = '{"items":[{"productId":"tea","quantity":1}]}'
    seller = users.tokens("sam@example.com", "seller")["AccessToken"]
    nobody = users.tokens("noah@example.com")["AccessToken"]

    for token in (seller, nobody):
        assert shop.send_with(token, "GET", "/products").status == 200
        assert shop.send_with(token, "POST", "/orders", content=order).status == 403
        assert shop.send_with(token, "PUT", "/admin/products/tea", content="{}").status == 403


@pytest.mark.usefixtures("admin")
def test_no_other_token_of_the_pool_opens_anything(shop: HttpShop, users: UserPool, stack: Stack) -> None:
    tokens = users.tokens("bob@example.com", "buyer")
    of_another_app = users.tokens("carol@example.com", "buyer", app="another")["AccessToken"]
    head, payload, signature = tokens["AccessToken"].split(".")
    tampered = f"{head}.{payload}.{signature[:-6]}AAAAAA"

    for token in (tokens["IdToken"], tokens["RefreshToken"], of_another_app, tampered, stack.tokens["buyer"]):
        assert shop.send_with(token, "GET", "/products").status == 401


def test_the_tables_cannot_be_deleted(stack: Stack) -> None:
    for table in (stack.deployment.orders_table, stack.deployment.products_table):
        assert described(stack, "dynamodb", "describe_table", TableName=table)["Table"]["DeletionProtectionEnabled"]
        with pytest.raises(Exception, match="protect"):
            described(stack, "dynamodb", "delete_table", TableName=table)


def test_logs_are_kept_for_a_year(stack: Stack) -> None:
    groups = described(stack, "logs", "describe_log_groups")["logGroups"]

    kept = {group["logGroupName"]: group.get("retentionInDays") for group in groups}
    assert kept[f"/aws/lambda/{STACK_NAME}"] == kept[f"/aws/apigateway/{STACK_NAME}"] == 365


def test_every_alarm_tells_the_topic(stack: Stack) -> None:
    alarms = described(stack, "cloudwatch", "describe_alarms")["MetricAlarms"]

    assert len(alarms) > 20
    assert {action.rpartition(":")[2] for alarm in alarms for action in alarm["AlarmActions"]} == {"alarms"}
    assert all(alarm["AlarmActions"] == alarm["OKActions"] != [] for alarm in alarms)


def test_the_dashboard_shows_what_is_there(stack: Stack) -> None:
    body = described(stack, "cloudwatch", "get_dashboard", DashboardName=STACK_NAME)["DashboardBody"]

    widgets = json.loads(body)["widgets"]
    assert {widget["type"] for widget in widgets} >= {"alarm", "metric"}
    assert set(re.findall(r"\$\{[^}]*}", body)) <= {"${PROP('Dim.reason')}"}  # for CloudWatch itself


def test_no_environment_and_no_log_has_stripes_key(stack: Stack) -> None:
    environments = json.dumps(
        [each.get("Environment") for each in described(stack, "lambda", "list_functions")["Functions"]]
    )

    assert "Planted" not in environments
    assert "Planted" not in stack.function_logs()


@pytest.mark.usefixtures("admin")
def test_a_rotated_secret_is_taken_up_without_a_deployment(stack: Stack, shop: HttpShop, buyer: str) -> None:
    described(stack, "secretsmanager", "put_secret_value", SecretId=SECRET, SecretString=secret_value(2))
    rotated = utc_now()

    # A function fetches the secret again once it has not for so long. Most of that has passed in the tests before.
    while tell(shop, 2) != 200:
        assert (utc_now() - rotated).total_seconds() < 2 * SECRET_COOL_DOWN_SECONDS
        time.sleep(0.5)
    assert tell(shop, 1) == 400
    _, paid = buy_tea(shop, buyer)
    assert paid.status == 200
