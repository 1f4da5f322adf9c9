"""The stack with production's parameters, as far as the emulator has what they ask for."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest

from delivery.release import parameters_of
from delivery.rendering import SAMCONFIG
from local.emulator.deploy import STACK_NAME
from local.emulator.process import Emulator
from local.stack import Stack, running_stack
from tests.support.http_shop import HttpShop
from tests.support.user_pool import OF_THE_POOL, UserPool, buy_tea, let_the_authorizer_find_the_pools_keys

UNKNOWN_TO_THE_EMULATOR = {
    "GradualDeployment": "false",  # it has no CodeDeploy
    "EventArchiveDays": "0",  # nor archives in a template
    "AlarmOnSilence": "off",  # nor metric math in an alarm
    "StripeBackend": "dummy",  # and nothing here reaches Stripe
    "PaymentsPerCaller": "0",  # nor can a template associate a web ACL
}


def production(emulator: Emulator) -> Mapping[str, str]:
    """Production's parameters, with the account's own things made on the emulator."""
    with closing(emulator.client("secretsmanager")) as secrets, closing(emulator.client("sns")) as sns:
        value = json.dumps({"secretKey": "sk_test_Production", "webhookSecret": "whsec_Production"})
        secret = secrets.create_secret(Name="order-payments/stripe", SecretString=value)["ARN"]
        topic = sns.create_topic(Name="alarms")["TopicArn"]
    return {
        **OF_THE_POOL,
        "StripeSecretKey": "",
        "StripeWebhookSecret": "",
        **parameters_of(SAMCONFIG, "production"),
        **UNKNOWN_TO_THE_EMULATOR,
        "StripeSecretArn": secret,
        "AlarmTopicArn": topic,
        "PaymentsPerSecond": "100",
        "CorsAllowedOrigins": "https://shop.example",
    }


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    state = tmp_path_factory.mktemp("stack-of-production")
    with running_stack(state=state, enforce_policies=True, parameters=production) as running:
        let_the_authorizer_find_the_pools_keys(running)
        yield running


def described(stack: Stack, service: str, operation: str, **request: Any) -> dict[str, Any]:
    with closing(stack.client(service)) as client:
        answer: dict[str, Any] = getattr(client, operation)(**request)
        return answer


def test_who_signed_in_orders_and_pays(stack: Stack, shop: HttpShop) -> None:
    with closing(UserPool(stack)) as pool:
        _, paid, _ = buy_tea(shop, pool)

    assert (paid.status, paid.body["status"]) == (200, "confirmed")


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
