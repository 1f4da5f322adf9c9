"""Stripe's webhook: signatures, and events that make the service read the payment from Stripe."""

import io
import json
import time
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
import stripe

from dummy_stripe.control import end_refund
from dummy_stripe.dynamodb_store import DynamoDBStore
from dummy_stripe.events import sign
from dummy_stripe.http_client import DummyStripeHTTPClient
from dummy_stripe.objects import RefundStatus as DummyRefundStatus
from harness.functions import FunctionResponse, call, event_for, load_function
from order_payments.domain.orders import Order
from order_payments.runtime.clock import Deadline, rfc3339, utc_now
from order_payments.runtime.metric_names import Count
from order_payments.storage.orders_table import OrdersTable
from order_payments.stripe_adapter.gateway import StripeGateway
from order_payments.stripe_adapter.outcomes import Unknown
from tests.support.auditor import external_stripe, write_order
from tests.support.function_shop import FunctionShop
from tests.support.metrics import metrics_in
from tests.support.shop import ADMIN, Stock

SECRET = "whsec_unit"
EVENT_TYPES = [
    "payment_intent.succeeded",
    "payment_intent.canceled",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
]


def payload(type_: str, order_id: str, intent_id: str) -> str:
    intent = {"id": intent_id, "object": "payment_intent", "metadata": {"orderId": order_id, "buyerId": "alice"}}
    return json.dumps({"id": "evt_1", "object": "event", "type": type_, "data": {"object": intent}})


def signature(body: str, *, secret: str = SECRET, age: float = 0) -> str:
    return sign(body.encode(), secret, int(time.time() - age))


def deliver(body: str, header: str | None, webhook: ModuleType | None = None) -> FunctionResponse:
    headers = {} if header is None else {"Stripe-Signature": header}
    event = event_for("POST /webhooks/stripe", body=body, headers=headers)
    del event["requestContext"]["authorizer"]
    return call(webhook or load_function("stripe_webhook"), event)


def deliver_signed(type_: str, order_id: str, intent_id: str) -> FunctionResponse:
    body = payload(type_, order_id, intent_id)
    return deliver(body, signature(body))


def make_old(shop: FunctionShop, order_id: str) -> None:
    """Date an attempt back, beyond its lease."""
    started = rfc3339(utc_now() - timedelta(hours=1))
    write_order(shop, order_id, "SET #payment.startedAt = :started, unsettledSince = :started", started=started)


@pytest.mark.parametrize(
    "header",
    [None, "", "x", "t=1", f"t={int(time.time())},v1=0", "t=x,v1=é", f"t={int(time.time())},v1=é"],
    ids=["none", "empty", "garbage", "no signature", "wrong", "malformed", "not ASCII"],
)
def test_event_without_a_valid_signature_is_refused(shop: FunctionShop, header: str | None) -> None:
    order = shop.order((shop.add_product(), 1))

    response = deliver(payload("payment_intent.succeeded", order, "pi_1"), header)

    assert (response.status, response.body["code"]) == (400, "invalid_signature")


@pytest.mark.parametrize("wrong", [{"secret": "whsec_other"}, {"age": 3600}, {"age": 10**9}], ids=str)
def test_event_changed_or_signed_by_another_or_too_old_is_refused(shop: FunctionShop, wrong: dict[str, Any]) -> None:
    body = payload("payment_intent.succeeded", shop.order((shop.add_product(), 1)), "pi_1")

    assert deliver(body, signature(body, **wrong)).status == 400
    assert deliver(body.replace("pi_1", "pi_2"), signature(body)).status == 400


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("value", ["", " "], ids=["empty", "blank"])
def test_webhook_without_a_secret_refuses_every_event(
    monkeypatch: pytest.MonkeyPatch,
    value: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", value)
    body = payload("payment_intent.succeeded", "ord_" + "0" * 32, "pi_1")
    webhook = load_function("stripe_webhook")

    headers = [None, "", *(signature(body, secret=secret) for secret in ("", " ", "None", SECRET))]
    responses = [deliver(body, header, webhook) for header in headers]

    assert {(response.status, response.body["code"]) for response in responses} == {(400, "invalid_signature")}
    assert [record.levelname for record in caplog.records].count("ERROR") == 1
    assert metrics_in(capsys.readouterr().out) == {}


@pytest.mark.parametrize(
    "body", ["", "[]", "null", "{", '{"type":1}', '{"id":"evt","type":"payment_intent.succeeded"}']
)
def test_signed_event_without_an_intent_is_acknowledged(body: str) -> None:
    assert deliver(body, signature(body)).status == 200


THIN = {
    "id": "evt_test_65T0Y6PRLXqpvXAPBeH16T0Y6P",
    "object": "v2.core.event",
    "type": "v1.payment_intent.succeeded",
    "livemode": False,
    "created": "2026-11-23T05:50:20.090Z",
    "related_object": {"id": "pi_1", "type": "payment_intent", "url": "/v1/payment_intents/pi_1"},
}


@pytest.mark.parametrize(
    ("body", "event_id", "event_type"),
    [
        (json.dumps(THIN), THIN["id"], THIN["type"]),
        ('{"id":"evt_1","type":"payment_intent.succeeded"}', "evt_1", "payment_intent.succeeded"),
        ('{"id":7,"object":"event.v9","type":null}', None, None),
        ("{", None, None),
        ("[" * 100_000, None, None),
    ],
    ids=["thin payload", "no object", "wrong types", "not JSON", "deep"],
)
def test_unreadable_signed_event_is_acknowledged_logged_and_counted(
    log_output: io.StringIO,
    capsys: pytest.CaptureFixture[str],
    body: str,
    event_id: str | None,
    event_type: str | None,
) -> None:
    assert deliver(body, signature(body)).status == 200

    (line,) = [line for line in map(json.loads, log_output.getvalue().splitlines()) if line["level"] == "ERROR"]
    assert line["message"] == "stripe event unreadable"
    assert (line.get("eventId"), line.get("eventType")) == (event_id, event_type)
    assert metrics_in(capsys.readouterr().out)[Count.STRIPE_EVENT_UNREADABLE] == [1]


def test_unreadable_unsigned_event_is_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert deliver(json.dumps(THIN), signature("another")).status == 400

    assert Count.STRIPE_EVENT_UNREADABLE not in metrics_in(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("event_type", "subject", "warning"),
    [
        ("payment_intent.succeeded", "pi_1", {"stripe event ignored: foreign intent": "WARNING"}),
        ("customer.created", "cus_1", {}),
    ],
)
def test_foreign_event_is_acknowledged_and_only_an_intent_warns(
    log_output: io.StringIO, event_type: str, subject: str, warning: dict[str, str]
) -> None:
    body = json.dumps({"id": "evt_1", "object": "event", "type": event_type, "data": {"object": {"id": subject}}})

    assert deliver(body, signature(body)).status == 200

    levels = {line["message"]: line["level"] for line in map(json.loads, log_output.getvalue().splitlines())}
    assert levels == {**warning, "request completed": "INFO"}


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("order_id", ["ord_" + "0" * 32, "x", ""])
def test_event_of_an_unknown_order_is_acknowledged(order_id: str) -> None:
    assert deliver_signed("payment_intent.succeeded", order_id, "pi_1").status == 200


def test_success_event_confirms_the_order_at_once(shop: FunctionShop) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    intent = shop.pay(order, "pm_dummy_timeout_after_charge").body["paymentIntentId"]

    assert deliver_signed("payment_intent.succeeded", order, intent).status == 200

    assert shop.status(order)["status"] == "confirmed"
    assert shop.stock(product) == Stock(stock=3, reserved=0, available=3)


def test_false_success_event_changes_nothing_during_an_attempt(shop: FunctionShop) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    intent = shop.pay(order, "pm_dummy_timeout_before_charge").body["paymentIntentId"]

    assert deliver_signed("payment_intent.succeeded", order, intent).status == 503

    assert shop.status(order)["status"] == "pending"
    assert shop.stock(product) == Stock(stock=5, reserved=2, available=3)


@pytest.mark.parametrize("type_", EVENT_TYPES)
def test_any_event_of_an_abandoned_payment_cancels_its_order(shop: FunctionShop, type_: str) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    intent = shop.pay(order, "pm_dummy_timeout_before_charge").body["paymentIntentId"]
    make_old(shop, order)

    deliver_signed(type_, order, intent)

    assert shop.status(order)["reason"]["code"] == "payment_abandoned"
    assert shop.stock(product) == Stock(stock=5, reserved=0, available=5)


@pytest.mark.parametrize("card", ["pm_card_visa", "pm_card_chargeDeclined"])
def test_repeated_events_of_a_settled_order_change_nothing(shop: FunctionShop, card: str) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    shop.pay(order, card)
    before = shop.status(order)

    responses = [
        deliver_signed(type_, order, before["paymentIntentId"]) for type_ in [*EVENT_TYPES, *reversed(EVENT_TYPES)]
    ]

    assert {response.status for response in responses} == {200}
    assert shop.status(order) == before


def pay_late(shop: FunctionShop, order: str, amount: int | None = None) -> str:
    """Charge the order's buyer again, outside the service, and return the intent's id."""
    status = shop.status(order)
    return (
        external_stripe(shop)
        .v1.payment_intents.create(
            {
                "amount": amount or status["totalAmount"],
                "currency": status["currency"],
                "payment_method": "pm_card_visa",
                "confirm": True,
                "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                "metadata": {"orderId": order},
            }
        )
        .id
    )


def amount_refunded(shop: FunctionShop, intent: str) -> int:
    """Return the refunded amount of the intent's charge."""
    charge = external_stripe(shop).v1.payment_intents.retrieve(intent, {"expand": ["latest_charge"]}).latest_charge
    assert isinstance(charge, stripe.Charge)
    return charge.amount_refunded


def test_late_charge_of_a_cancelled_order_is_refunded_once(shop: FunctionShop) -> None:
    order = shop.order((shop.add_product(stock=1), 2))
    shop.pay(order)
    late = pay_late(shop, order)

    responses = [deliver_signed("payment_intent.succeeded", order, late) for _ in range(2)]

    assert {response.status for response in responses} == {200}
    assert amount_refunded(shop, late) == shop.status(order)["totalAmount"]
    item = shop.dynamodb.get_item(TableName="OrdersTable", Key={"orderId": {"S": order}})["Item"]
    assert item["refund"]["M"]["refundId"]["S"].startswith("re_")
    assert "unsettledShard" not in item
    assert shop.status(order)["status"] == "cancelled"


def test_every_late_charge_of_a_settled_order_is_refunded(shop: FunctionShop) -> None:
    order = shop.order((shop.add_product(), 1))
    paid = shop.pay(order).body
    late = [pay_late(shop, order) for _ in range(2)]

    responses = [
        deliver_signed("payment_intent.succeeded", order, intent) for intent in [*late, *late, paid["paymentIntentId"]]
    ]

    assert {response.status for response in responses} == {200}
    assert [amount_refunded(shop, intent) for intent in late] == [paid["totalAmount"]] * 2
    assert amount_refunded(shop, paid["paymentIntentId"]) == 0
    assert shop.status(order) == paid


@pytest.mark.parametrize("card", ["pm_card_visa", "pm_card_chargeDeclined"])
def test_event_of_a_late_charge_is_retried_during_a_stripe_outage(
    shop: FunctionShop, monkeypatch: pytest.MonkeyPatch, card: str
) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order, card)
    late = pay_late(shop, order)

    def unreachable(*_: object, **__: object) -> None:
        raise stripe.APIConnectionError("connection failed")  # type: ignore[no-untyped-call]

    with monkeypatch.context() as patch:
        patch.setattr(DummyStripeHTTPClient, "request", unreachable)
        response = deliver_signed("payment_intent.succeeded", order, late)
    assert (response.status, response.body["code"]) == (503, "busy")
    assert amount_refunded(shop, late) == 0

    assert deliver_signed("payment_intent.succeeded", order, late).status == 200
    assert amount_refunded(shop, late) == shop.status(order)["totalAmount"]


def test_event_of_another_intent_is_retried_during_an_attempt(shop: FunctionShop) -> None:
    order = shop.order((shop.add_product(), 1))
    other = pay_late(shop, order)
    own = shop.pay(order, "pm_dummy_timeout_after_charge").body["paymentIntentId"]

    assert deliver_signed("payment_intent.succeeded", order, other).status == 503
    assert deliver_signed("payment_intent.succeeded", order, own).status == 200
    assert deliver_signed("payment_intent.succeeded", order, other).status == 200

    assert shop.status(order)["status"] == "confirmed"
    assert (amount_refunded(shop, other), amount_refunded(shop, own)) == (shop.status(order)["totalAmount"], 0)


def test_event_of_a_concurrently_voided_payment_is_retried(shop: FunctionShop, monkeypatch: pytest.MonkeyPatch) -> None:
    order = shop.order((shop.add_product(), 1))
    intent = shop.pay(order, "pm_dummy_timeout_after_charge").body["paymentIntentId"]
    settle = OrdersTable.settle_confirmed

    def void_first(self: OrdersTable, claimed: Order, **by: Any) -> Order:
        self.void(claimed, was_refused=False, now=utc_now(), deadline=Deadline.after(5))
        return settle(self, claimed, **by)

    with monkeypatch.context() as patch:
        patch.setattr(OrdersTable, "settle_confirmed", void_first)
        assert deliver_signed("payment_intent.succeeded", order, intent).status == 503

    assert deliver_signed("payment_intent.succeeded", order, intent).status == 200
    assert shop.status(order)["status"] == "confirmed"


def test_second_late_payment_is_refunded_too(shop: FunctionShop) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order)

    for intent in (pay_late(shop, order) for _ in range(2)):
        assert deliver_signed("payment_intent.succeeded", order, intent).status == 200
        assert amount_refunded(shop, intent) == shop.status(order)["totalAmount"]


def test_event_of_an_intent_of_another_amount_makes_no_refund(shop: FunctionShop) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order)
    other_amount = pay_late(shop, order, amount=77)

    assert deliver_signed("payment_intent.succeeded", order, other_amount).status == 200
    assert amount_refunded(shop, other_amount) == 0


def test_event_without_an_effect_is_acknowledged(shop: FunctionShop) -> None:
    order, other = (shop.order((shop.add_product(), 1)) for _ in range(2))
    shop.pay(order, "pm_unknown")
    shop.pay(other, "pm_unknown")
    before = shop.status(order)
    own, others = (intent.id for intent in intents_of(shop, order, other))
    external_stripe(shop).v1.payment_intents.cancel(own)

    events = [("canceled", own), ("succeeded", own), ("succeeded", others), ("payment_failed", others)]
    events.append(("canceled", "pi_unknown"))
    responses = [deliver_signed(f"payment_intent.{name}", order, intent) for name, intent in events]

    assert {response.status for response in responses} == {200}
    assert shop.status(order) == before


def intents_of(shop: FunctionShop, *orders: str) -> list[stripe.PaymentIntent]:
    """Return the service's intents of these orders, in the same order."""
    intents = {intent.metadata["orderId"]: intent for intent in external_stripe(shop).v1.payment_intents.list().data}
    return [intents[order] for order in orders]


def paid_with_refund(shop: FunctionShop, card: str = "pm_card_visa", **body: Any) -> tuple[str, str]:
    """Return a paid order and Stripe's id of a refund that an admin made of it."""
    order = shop.order((shop.add_product(), 1))
    shop.pay(order, card)
    path = f"/admin/orders/{order}/refunds"
    reply = shop.call("POST", path, ADMIN, {"reason": "Broken.", **body})
    assert reply.status in {201, 202}, reply
    return order, reply.body["stripeRefundId"]


def deliver_refund_event(type_: str, refund_id: str) -> FunctionResponse:
    refund = {"id": refund_id, "object": "refund", "metadata": {}}
    body = json.dumps({"id": "evt_2", "object": "event", "type": type_, "data": {"object": refund}})
    return deliver(body, signature(body))


def refunds_of(shop: FunctionShop, order: str) -> list[tuple[str, str, int]]:
    listed = shop.call("GET", f"/admin/orders/{order}/refunds", ADMIN).body["refunds"]
    return [(refund["kind"], refund["status"], refund["amount"]) for refund in listed]


def store_of(shop: FunctionShop) -> DynamoDBStore:
    return DynamoDBStore(shop.dynamodb, "DummyStripeTable")


@pytest.mark.parametrize("type_", ["refund.failed", "refund.updated", "charge.refund.updated"])
def test_refund_that_fails_later_is_recorded_and_counted_once(
    shop: FunctionShop, type_: str, capsys: pytest.CaptureFixture[str]
) -> None:
    order, refund = paid_with_refund(shop, amount=100)
    end_refund(store_of(shop), refund, DummyRefundStatus.FAILED, time.time())
    capsys.readouterr()

    assert [deliver_refund_event(type_, refund).status for _ in range(2)] == [200, 200]

    assert refunds_of(shop, order) == [("staff", "failed", 100)]
    assert shop.status(order)["refundedAmount"] == 0
    assert metrics_in(capsys.readouterr().out)[Count.REFUND_UNSUCCESSFUL] == [1]
    retry = shop.call("POST", f"/admin/orders/{order}/refunds", ADMIN, {"reason": "Again."})
    assert (retry.status, retry.body["amount"]) == (201, 4599)


def test_pending_refund_that_succeeds_is_recorded(shop: FunctionShop) -> None:
    order, refund = paid_with_refund(shop, "pm_card_pendingRefund", amount=100)
    end_refund(store_of(shop), refund, DummyRefundStatus.SUCCEEDED, time.time())

    assert deliver_refund_event("refund.updated", refund).status == 200

    assert refunds_of(shop, order) == [("staff", "succeeded", 100)]


@pytest.mark.parametrize("amount", [100, 4599])
def test_refund_made_in_stripes_dashboard_is_recorded(shop: FunctionShop, amount: int) -> None:
    order = shop.order((shop.add_product(), 1))
    intent = shop.pay(order).body["paymentIntentId"]
    refund = external_stripe(shop).v1.refunds.create({"payment_intent": intent, "amount": amount})

    assert [deliver_refund_event("refund.created", refund.id).status for _ in range(2)] == [200, 200]

    assert refunds_of(shop, order) == [("external", "succeeded", amount)]
    assert shop.status(order)["refundedAmount"] == amount
    rest = shop.call("POST", f"/admin/orders/{order}/refunds", ADMIN, {"reason": "Rest."})
    assert rest.status == (201 if amount < 4599 else 409)


def test_event_of_a_refund_before_its_record_records_it_once(
    shop: FunctionShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    product = shop.add_product()
    order = shop.order((product, 1))
    shop.pay(order)
    create_refund = StripeGateway.create_refund

    def create_and_report(*args: Any, **by: Any) -> Any:
        outcome = create_refund(*args, **by)
        assert deliver_refund_event("refund.created", outcome.stripe_refund_id).status == 200
        return outcome

    monkeypatch.setattr(StripeGateway, "create_refund", create_and_report)
    body = {"reason": "Broken.", "amount": 100, "restock": [{"productId": product, "quantity": 1}]}
    reply = shop.call("POST", f"/admin/orders/{order}/refunds", ADMIN, body)

    assert (reply.status, reply.body["status"]) == (201, "succeeded")
    assert refunds_of(shop, order) == [("staff", "succeeded", 100)]
    assert shop.stock(product) == Stock(10, 0, 10)


def test_event_of_a_refund_of_no_order_is_acknowledged(shop: FunctionShop) -> None:
    intent = external_stripe(shop).v1.payment_intents.create(
        {
            "amount": 500,
            "currency": "usd",
            "payment_method": "pm_card_visa",
            "confirm": True,
            "payment_method_types": ["card"],
        }
    )
    refund = external_stripe(shop).v1.refunds.create({"payment_intent": intent.id})

    assert deliver_refund_event("refund.created", refund.id).status == 200
    assert deliver_refund_event("refund.created", "re_unknown").status == 200


def test_refund_event_is_retried_while_stripe_does_not_respond(
    shop: FunctionShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, refund = paid_with_refund(shop)
    monkeypatch.setattr(StripeGateway, "retrieve_refund", lambda *_, **__: Unknown())

    assert deliver_refund_event("refund.updated", refund).status == 503


def test_event_of_a_refund_without_an_intent_is_acknowledged(
    shop: FunctionShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, refund = paid_with_refund(shop)
    retrieve = stripe.RefundService.retrieve

    def retrieve_without_intent(*args: Any, **by: Any) -> Any:
        found = retrieve(*args, **by)
        found.payment_intent = None
        return found

    monkeypatch.setattr(stripe.RefundService, "retrieve", retrieve_without_intent)

    assert deliver_refund_event("refund.created", refund).status == 200


@pytest.mark.parametrize("late_refund", ["owed", "sent by version 0.1.0"])
def test_late_payment_returned_in_the_dashboard_is_counted_once(shop: FunctionShop, late_refund: str) -> None:
    order = shop.order((shop.add_product(), 1))
    intent = pay_late(shop, order)
    shop.override(order, "cancelled")
    refund = {"paymentIntentId": intent, "owedSince": rfc3339(utc_now())}
    if late_refund != "owed":
        refund["refundId"] = "charge_already_refunded"
    listed = "SET refund = :refund, unsettledShard = :shard, unsettledSince = :since"
    write_order(shop, order, listed, refund=refund, shard="unsettled-0", since=rfc3339(utc_now()))
    made = external_stripe(shop).v1.refunds.create({"payment_intent": intent})

    assert deliver_refund_event("refund.created", made.id).status == 200
    assert deliver_signed("payment_intent.succeeded", order, intent).status == 200
    if late_refund == "owed":
        reconcile_all()

    assert shop.status(order)["refundedAmount"] == shop.status(order)["totalAmount"]


def reconcile_all() -> None:
    reconciler = load_function("reconcile_payments")
    reconciler.reconcile_payments(
        reconciler.orders, reconciler.stripe, now=utc_now() + timedelta(hours=1), deadline=Deadline.after(60)
    )
