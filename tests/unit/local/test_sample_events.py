"""The sample events and `env.local.json` for `sam local invoke` work with every function."""

import json
from typing import Any

import boto3
import pytest

from command_line.project import PROJECT
from delivery.rendering import template
from harness.functions import Context, load_function
from local.sam_local.sam import ENV_VARS, EVENTS
from local.stack import WEBHOOK_SECRET
from local.tokens import AUDIENCE, ISSUER
from order_payments.api.authorizer_context import from_authorizer_context
from order_payments.api.routes import ROUTES, Route
from order_payments.runtime.settings import (
    EventSettings,
    JwtSettings,
    ReconcilerSettings,
    StripeSettings,
    TableSettings,
    WebhookSettings,
)

FUNCTIONS = {path.parent.name for path in PROJECT.glob("functions/*/handler.py")}
EVENT_FILES = {path.stem: path for path in EVENTS.glob("*.json")}
VARIABLES: dict[str, str] = json.loads(ENV_VARS.read_text())["Parameters"]


def invoke(function: str) -> Any:
    """Invoke the function with its sample event; return the result, or the status and body of an HTTP response."""
    response = load_function(function).handler(json.loads(EVENT_FILES[function].read_text()), Context())
    return (response["statusCode"], json.loads(response["body"])) if "statusCode" in response else response


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment of `env.local.json`, with moto's DynamoDB."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL_DYNAMODB")


def test_every_function_has_a_sample_event() -> None:
    assert set(EVENT_FILES) == FUNCTIONS


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.function)
def test_event_matches_its_route_and_its_caller_has_the_role(route: Route) -> None:
    event = json.loads(EVENT_FILES[route.function].read_text())
    path = event["resource"].format_map(event["pathParameters"] or {})

    assert (event["httpMethod"], event["resource"]) == (route.method, route.path)
    assert (event["path"], event["requestContext"]["path"]) == (path, f"/v1{path}")
    assert event["multiValueHeaders"] == {name: [value] for name, value in event["headers"].items()}
    if route.needs_token:
        assert route.admits(from_authorizer_context(event["requestContext"]["authorizer"]).roles)


@pytest.mark.usefixtures("dynamodb", "variables")
def test_events_place_and_pay_one_order() -> None:
    assert invoke("put_product")[0] == 200
    status, order = invoke("create_order")
    assert (status, order["status"]) == (201, "pending")
    boto3.client("events").create_event_bus(Name=VARIABLES["ORDER_EVENTS_BUS"])
    assert invoke("publish_order_events") == {"batchItemFailures": []}
    assert invoke("get_order_status") == (200, {name: order[name] for name in order if name != "items"})

    status, paid = invoke("initiate_payment")

    assert (status, paid["orderId"], paid["status"]) == (200, order["orderId"], "confirmed")
    assert invoke("get_order_status") == (200, paid)
    for listing in ("list_orders", "list_all_orders"):
        assert invoke(listing) == (200, {"orders": [{**paid, "items": order["items"]}], "cursor": None})
    status, refund = invoke("refund_order")
    assert (status, refund["status"]) == (201, "succeeded")
    assert invoke("list_refunds") == (200, {"refunds": [refund]})
    status, details = invoke("get_order_details")
    assert (status, details["refunds"]) == (200, [refund])
    status, product = invoke("get_product")
    assert (status, product["stock"], product["available"]) == (200, 8, 8)
    assert invoke("list_products") == (200, {"products": [product], "cursor": None})
    assert (invoke("adjust_stock")[0], invoke("adjust_stock")[1]["stock"]) == (200, 13)
    assert invoke("stripe_webhook") == (200, {"received": True})
    assert not any(invoke("reconcile_payments").values())
    assert invoke("override_order_status")[0] == 409


@pytest.mark.usefixtures("dynamodb", "variables")
def test_events_can_be_repeated() -> None:
    invoke("put_product")

    assert invoke("create_order") == invoke("create_order")
    assert invoke("initiate_payment") == invoke("initiate_payment")


@pytest.mark.usefixtures("dynamodb", "variables")
def test_events_can_override_the_order() -> None:
    invoke("put_product")
    invoke("create_order")

    status, settled = invoke("override_order_status")

    assert (status, settled["status"]) == (200, "confirmed")
    assert invoke("get_product")[1]["stock"] == 8


def test_functions_start_with_the_sample_environment() -> None:
    TableSettings.from_environment(VARIABLES)
    StripeSettings.from_environment(VARIABLES)
    WebhookSettings.from_environment(VARIABLES)
    JwtSettings.from_environment(VARIABLES)
    EventSettings.from_environment(VARIABLES)
    ReconcilerSettings.from_environment(VARIABLES)


def test_environment_sets_exactly_the_unresolved_variables() -> None:
    """`sam local` silently ignores variables that the template does not have."""
    parsed = template()
    named = dict(parsed["Globals"]["Function"]["Environment"]["Variables"])
    for resource in parsed["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            named |= resource["Properties"].get("Environment", {}).get("Variables", {})
    parameters = parsed["Parameters"]
    resolved = {
        name
        for name, value in named.items()
        if isinstance(value, str)
        or value.get("Ref", "").startswith("AWS::")
        or "Default" in parameters.get(value.get("Ref", ""), {})
    }

    assert set(named) - resolved <= set(VARIABLES) <= set(named)


def test_events_are_valid_for_the_running_stack() -> None:
    assert VARIABLES["STRIPE_WEBHOOK_SECRET"] == WEBHOOK_SECRET
    assert (VARIABLES["JWT_ISSUER"], VARIABLES["JWT_AUDIENCE"]) == (ISSUER, AUDIENCE)
