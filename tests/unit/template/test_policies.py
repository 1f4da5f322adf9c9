"""Least privilege: each function's policies grant exactly the actions that it performs."""

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from delivery.rendering import Rendering
from dummy_stripe.dynamodb_store import DynamoDBStore
from dummy_stripe.events import sign
from harness import functions
from harness.functions import Context, call, event_for, load_function
from local.sam_local.sam import EVENTS
from order_payments.api.routes import ROUTES
from order_payments.events import dead_letters, event_bus
from order_payments.runtime.clock import Deadline, rfc3339, utc_now
from order_payments.storage import dynamodb as service
from order_payments.stripe_adapter import secrets as stripe_secrets
from tests.support.auditor import external_stripe, write_order
from tests.support.function_shop import FunctionShop
from tests.support.moto import tables_on_moto
from tests.support.order_stream import creation, malformed_record, place
from tests.support.policies import Permissions, list_permissions
from tests.support.shop import ADMIN, ALICE

DUMMY = "DummyStripeTable"
LONG_AGO = "2026-01-01T00:00:00.000Z"
FOR_PREVIOUS_RELEASE = {
    "put_product": {("Query", "OrdersTable/unsettled")},
    "audit_payments": {("Query", "OrdersTable/unsettled")},
}
"""Permissions of code that still runs while this release is deployed gradually."""
PAYERS = ("initiate_payment", "refund_order", "reconcile_payments", "stripe_webhook", "repair_payments")


def actions_of(operation: str, request: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the actions and resources that IAM checks for a request.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
    """
    if operation == "TransactWriteItems":
        for each in request["TransactItems"]:
            ((kind, write),) = each.items()
            yield f"{kind}Item", write["TableName"]
    elif operation == "PutEvents":
        yield from ((operation, entry["EventBusName"]) for entry in request["Entries"])
    elif operation == "SendMessage":
        yield operation, "OrderEventsDeadLetters"
    elif operation == "GetSecretValue":
        yield operation, "StripeSecretArn"
    elif operation == "BatchGetItem":
        yield from ((operation, table) for table in request["RequestItems"])
    else:
        yield operation, "/".join(filter(None, (request["TableName"], request.get("IndexName"))))


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Permissions]:
    """Record the actions of the functions that the test loads."""
    actions: Permissions = defaultdict(set)
    client_of = service.dynamodb_client
    bus_client_of = event_bus.events_client
    queue_client_of = dead_letters.sqs_client
    secrets_client_of = stripe_secrets.secrets_client
    FunctionShop.set_environment(monkeypatch)
    monkeypatch.setenv("ORDER_EVENTS_BUS", "OrderEventsBus")
    for name in ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"):
        monkeypatch.setenv(name, "")

    def record_actions(client: Any, by: str | None = None) -> Any:
        # The function that is being loaded, because each creates its clients when it is loaded.
        folder = by or loading[-1]

        def record(model: Any, params: dict[str, Any], **_: Any) -> None:
            body = params["body"]
            actions[folder].update(actions_of(model.name, json.loads(body) if isinstance(body, (str, bytes)) else body))

        client.meta.events.register("before-call", record)
        return client

    loading: list[str] = []

    def load(folder: str) -> Any:
        loading.append(folder)
        return functions.load_function(folder)

    monkeypatch.setattr(service, "dynamodb_client", lambda: record_actions(client_of()))
    monkeypatch.setattr(event_bus, "events_client", lambda: record_actions(bus_client_of()))
    # Created on first use, when other functions may have been loaded.
    monkeypatch.setattr(dead_letters, "sqs_client", lambda: record_actions(queue_client_of(), "publish_order_events"))
    monkeypatch.setattr(stripe_secrets, "secrets_client", lambda: record_actions(secrets_client_of()))
    monkeypatch.setattr("tests.support.function_shop.load_function", load)
    monkeypatch.setattr(f"{__name__}.load_function", load)
    with tables_on_moto():
        boto3.client("events").create_event_bus(Name="OrderEventsBus")
        queue = boto3.client("sqs").create_queue(QueueName="OrderEventsDeadLetters")["QueueUrl"]
        monkeypatch.setenv("ORDER_EVENTS_DEAD_LETTERS", queue)
        value = json.dumps({"secretKey": "sk_test_unit", "webhookSecret": "whsec_unit"})
        secret = boto3.client("secretsmanager").create_secret(Name="stripe", SecretString=value)
        monkeypatch.setenv("STRIPE_SECRET_ARN", secret["ARN"])
        yield actions


def exercise_every_function() -> None:
    """Make every function send every kind of request that it has."""
    shop = FunctionShop(boto3.client("dynamodb"))
    product = shop.add_product(stock=10)
    items = {"items": [{"productId": product, "quantity": 1}]}
    shop.call("POST", "/orders", ALICE, items, {"Idempotency-Key": "k"})
    adjustment = {"change": -1, "reason": "Damaged."}
    shop.call("POST", f"/admin/products/{product}/stock-adjustments", ADMIN, adjustment)
    shop.pay(shop.order((product, 1)), "pm_dummy_timeout_before_charge")
    shop.write_product(product, stock=10)
    shop.add_product(product_id=product, stock=10)
    for card in ("pm_card_visa", "pm_card_chargeDeclined", "pm_unknown"):
        shop.pay(shop.order((product, 1)), card)
    shop.pay(shop.order((product, 100)))
    for status in ("confirmed", "cancelled"):
        shop.override(shop.order((product, 1)), status)
    refund_each_way(shop, product)
    shop.pages("orders", ALICE)
    shop.pages("admin/orders", ADMIN, buyerId=ALICE.sub)
    shop.pages("products", ALICE)
    shop.stock(product)
    shop.status(shop.order((product, 1)))
    for route in ROUTES:
        load_function(route.function).handler(json.loads((EVENTS / f"{route.function}.json").read_text()), Context())
    load_function("publish_order_events").handler({"Records": [creation(place()), malformed_record()]}, Context())
    audit_and_repair(shop, product)
    for settle in (reconcile, call_webhook):
        settle_each_kind(shop, product, settle)


def refund_each_way(shop: FunctionShop, product: str) -> None:
    """Refund orders so that Stripe accepts and refuses it, and restock a unit."""
    for card in ("pm_card_visa", "pm_card_createDispute"):
        order = shop.order((product, 1))
        shop.pay(order, card)
        restock = [{"productId": product, "quantity": 1}]
        shop.call("POST", f"/admin/orders/{order}/refunds", ADMIN, {"reason": "Broken.", "restock": restock})


def audit_and_repair(shop: FunctionShop, product: str) -> None:
    """Make the audit check everything, and the repair apply every kind of repair."""
    held = shop.order((product, 1))
    shop.pay(held, "pm_dummy_timeout_after_charge")
    shop.pay(shop.order((product, 1)), "pm_dummy_timeout_before_charge")
    write_order(shop, held, "REMOVE unsettledShard, unsettledSince")
    load_function("audit_payments").handler({"lookAgainAfterSeconds": 0}, Context(600))
    findings = [
        {"kind": "holds_differ", "productId": product, "found": "", "expected": ""},
        {"kind": "not_listed", "orderId": held, "found": "", "expected": ""},
        {
            "kind": "charged_without_order",
            "orderId": held,
            "paymentIntentId": intent_of(shop, held),
            "found": "",
            "expected": "",
        },
    ]
    repair = load_function("repair_payments")
    steps = repair.handler({"findings": findings}, Context(600))["steps"]
    outcomes = [step["outcome"] for step in repair.handler({"steps": steps, "apply": True}, Context(600))["steps"]]
    assert "done: the order is confirmed" in outcomes


def settle_each_kind(shop: FunctionShop, product: str, settle: Any) -> None:
    """Settle payments of unknown outcome, charged and not charged, and a charge for a cancelled order."""
    for card in ("pm_dummy_timeout_after_charge", "pm_dummy_timeout_before_charge"):
        order = shop.order((product, 1))
        shop.pay(order, card)
        settle(shop, order)
        assert shop.status(order)["status"] != "pending"
    order = shop.order((product, 1))
    shop.pay(order, "pm_unknown")
    shop.override(order, "cancelled")
    external_stripe(shop).v1.payment_intents.confirm(intent_of(shop, order), {"payment_method": "pm_card_visa"})
    settle(shop, order)


def intent_of(shop: FunctionShop, order: str) -> str:
    store = DynamoDBStore(shop.dynamodb, "DummyStripeTable")
    return next(intent.id for intent in store.intents() if intent.metadata["orderId"] == order)


def reconcile(shop: FunctionShop, order: str) -> None:
    if shop.status(order)["status"] == "cancelled":
        owed = {"paymentIntentId": intent_of(shop, order), "owedSince": rfc3339(utc_now())}
        listed = "SET refund = :owed, unsettledShard = :shard, unsettledSince = :since"
        write_order(shop, order, listed, owed=owed, shard="unsettled-0", since=LONG_AGO)
    function = load_function("reconcile_payments")
    function.reconcile_payments(
        function.orders, function.stripe, now=utc_now() + 2 * function.LEASE, deadline=Deadline.after(60)
    )


def call_webhook(shop: FunctionShop, order: str) -> None:
    if shop.status(order)["status"] == "pending":
        write_order(shop, order, "SET #payment.startedAt = :since", since=LONG_AGO)
    intent = {"id": intent_of(shop, order), "metadata": {"orderId": order}}
    body = json.dumps({"id": "evt_1", "type": "payment_intent.succeeded", "data": {"object": intent}})
    headers = {"Stripe-Signature": sign(body.encode(), "whsec_unit", int(utc_now().timestamp()))}
    call(load_function("stripe_webhook"), event_for("POST /webhooks/stripe", body=body, headers=headers), Context())


@pytest.mark.slow
def test_every_function_has_exactly_the_permissions_it_uses(performed: Permissions) -> None:
    exercise_every_function()

    for folder, all_granted in list_permissions().items():
        granted = all_granted - FOR_PREVIOUS_RELEASE.get(folder, set())
        granted_on_dummy, used = granted - without_dummy(granted), performed.get(folder, set())
        assert without_dummy(used) == without_dummy(granted), folder
        assert granted_on_dummy >= used - without_dummy(used), folder
        # A function's actions on the dummy's table depend on concurrent requests for the same payment.
        verbs = {
            **dict.fromkeys(PAYERS, ("GetItem", "PutItem", "DeleteItem")),
            "audit_payments": ("GetItem", "PutItem", "Scan"),
        }.get(folder, ())
        assert granted_on_dummy == {(verb, DUMMY) for verb in verbs}, folder


def without_dummy(permissions: set[tuple[str, str]]) -> set[tuple[str, str]]:
    return {(action, resource) for action, resource in permissions if resource != DUMMY}


def test_managed_policies_grant_only_logging_and_tracing() -> None:
    roles = Rendering.of_environment("dev").of_type("AWS::IAM::Role").items()
    managed = {str(arn).rpartition("/")[2] for _, role in roles for arn in role.get("ManagedPolicyArns", [])}

    assert managed == {"AWSLambdaBasicExecutionRole", "AWSXrayWriteOnlyAccess"}


def test_no_policy_has_a_wildcard() -> None:
    permissions = {permission for granted in list_permissions().values() for permission in granted}

    assert not [permission for permission in permissions if "*" in "".join(permission)]
