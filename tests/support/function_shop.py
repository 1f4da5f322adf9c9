"""A shop that calls the functions directly, with API Gateway's events."""

import json
import re
from types import ModuleType
from urllib.parse import parse_qs, unquote

import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from command_line.project import PROJECT
from harness.functions import call, event_for, load_function
from order_payments.api.routes import ROUTES
from order_payments.stripe_adapter import retries
from tests.support.api_document import check_documented
from tests.support.shop import Reply, Shop, User

_VARIABLES: dict[str, str] = json.loads((PROJECT / "env.local.json").read_text())["Parameters"]
ENVIRONMENT = {
    **{name: value for name, value in _VARIABLES.items() if not name.startswith("AWS_ENDPOINT_URL")},
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "ORDER_EVENTS_DEAD_LETTERS": "https://sqs.us-east-1.amazonaws.com/123456789012/order-events-dead-letters",
    "RECONCILED_PER_SECOND": "1000",
    "STRIPE_SECRET_KEY": "sk_test_unit",
    "STRIPE_WEBHOOK_SECRET": "whsec_unit",
    "POWERTOOLS_SERVICE_NAME": "order-payments",
}
"""The environment of `env.local.json`, which has every setting, with moto's region and a higher reconciler rate."""


class FunctionShop(Shop):
    """Calls the functions as API Gateway does."""

    orders_table = ENVIRONMENT["ORDERS_TABLE"]
    products_table = ENVIRONMENT["PRODUCTS_TABLE"]

    def __init__(self, dynamodb: DynamoDBClient) -> None:
        self.dynamodb = dynamodb
        self._functions: dict[str, ModuleType] = {}

    @staticmethod
    def set_environment(monkeypatch: pytest.MonkeyPatch) -> None:
        """Set the functions' environment variables, and shorten the pauses between Stripe retries."""
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(retries, "FIRST_PAUSE_SECONDS", 0.001)

    def function(self, name: str) -> ModuleType:
        """Return a function's module. The first call loads it."""
        if name not in self._functions:
            self._functions[name] = load_function(name)
        return self._functions[name]

    def send(
        self, method: str, path: str, user: User, *, content: str | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        path, _, query = path.partition("?")
        for route in ROUTES:
            match = re.fullmatch(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", route.path), path)
            if route.method == method and match:
                event = event_for(
                    f"{method} {route.path}",
                    sub=user.sub,
                    roles=" ".join(user.roles),
                    body=content,
                    headers=headers,
                    path_parameters={name: unquote(value) for name, value in match.groupdict().items()} or None,
                    query=parse_qs(query, keep_blank_values=True),
                )
                answer = call(self.function(route.function), event)
                reply = Reply(
                    answer.status, answer.body, {name.lower(): value for name, value in answer.headers.items()}
                )
                check_documented(method, path, reply)
                return reply
        raise ValueError(f"no route for {method} {path}")
