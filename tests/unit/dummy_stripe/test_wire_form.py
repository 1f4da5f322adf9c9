"""Every response body matches Stripe's published schema and the SDK's classes."""

import json
import types
import typing
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import stripe

from dummy_stripe import EventType, RefundStatus, end_refund, make_event

SCHEMA = json.loads((Path(__file__).parent / "stripe_schema.json").read_text())
NONE = type(None)


def validate(kind: str, body: Any) -> None:
    jsonschema.Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{kind}"}).validate(body)


def kind_of(body: dict[str, Any]) -> str:
    if "error" in body:
        return "error"
    return "refund_list" if body.get("url") == "/v1/refunds" else str(body["object"])


def can_be_null(schema: dict[str, Any]) -> bool:
    return "null" in schema.get("type", ()) or {"type": "null"} in schema.get("anyOf", ())


def fields_of(sdk_class: type) -> dict[str, Any]:
    """Return the fields of an SDK class, each with whether it is optional."""
    optional = (typing.Union, types.UnionType)
    return {
        name: typing.get_origin(hint) in optional and NONE in typing.get_args(hint)
        for name, hint in sdk_class.__annotations__.items()
        if typing.get_origin(hint) is not typing.ClassVar and not name.startswith("_")
    }


def assert_has_stripes_fields(body: dict[str, Any], sdk_class: type) -> None:
    optional = fields_of(sdk_class)
    nullable = {name for name, schema in SCHEMA["$defs"][kind_of(body)]["properties"].items() if can_be_null(schema)}
    assert body.keys() <= optional.keys()
    assert {name for name, absent in optional.items() if not absent} <= body.keys()
    # Stripe includes a charge's refunds only if they are expanded.
    assert nullable - {"refunds"} <= body.keys()


def create_intent_in_every_state(dummy) -> dict[str, stripe.PaymentIntent]:
    """Return an intent in each state, and make a redirect and refunds."""
    states = {
        "requires_payment_method": dummy.create(),
        "requires_confirmation": dummy.create(payment_method="pm_card_visa"),
        "requires_action": dummy.confirm(dummy.create().id, "pm_card_authenticationRequired"),
        "processing": dummy.confirm(dummy.create().id, "pm_dummy_processing"),
        "succeeded": dummy.confirm(dummy.create(metadata={"orderId": "o1"}).id, expand=["latest_charge"]),
        "canceled": dummy.intents.cancel(dummy.create().id, {"cancellation_reason": "abandoned"}),
    }
    redirected = dummy.create(automatic_payment_methods={"enabled": True}, payment_method_types=[])
    dummy.confirm(redirected.id, "pm_card_authenticationRequired", return_url="https://shop.example/back")
    partial = dummy.refund(dummy.pay().id, amount=1000, reason="duplicate", metadata={"why": "one too many"})
    full = dummy.refund(dummy.pay().id, expand=["charge", "payment_intent"])
    dummy.refunds.retrieve(partial.id)
    dummy.refunds.retrieve(full.id, {"expand": ["charge", "payment_intent"]})
    create_refund_in_every_status(dummy)
    return states


def create_refund_in_every_status(dummy) -> None:
    for status in RefundStatus:
        pending = dummy.refund(dummy.confirm(dummy.create().id, "pm_card_pendingRefund").id)
        if status is not RefundStatus.PENDING:
            end_refund(dummy.store, pending.id, status, dummy.clock())
        assert dummy.refunds.update(pending.id, {"metadata": {"ticket": "7"}}).status == status


def cause_every_error(dummy) -> None:
    """Cause each kind of error once."""
    intent = dummy.create("order-1")
    for call in (
        lambda: dummy.confirm(intent.id, "pm_card_visa_chargeDeclined"),
        lambda: dummy.confirm(intent.id, "pm_card_chargeDeclinedExpiredCard"),
        lambda: dummy.confirm(intent.id, "pm_card_authenticationRequired", error_on_requires_action=True),
        lambda: dummy.confirm(intent.id, "pm_card_gold"),
        lambda: dummy.confirm(intent.id, "pm_dummy_api_error"),
        lambda: dummy.confirm(intent.id, "pm_dummy_rate_limited"),
        lambda: dummy.intents.confirm(intent.id),
        lambda: dummy.intents.retrieve("pi_none"),
        lambda: dummy.create("order-1", amount=5000),
        lambda: dummy.create(amount=1),
        lambda: dummy.refund(intent.id),
        lambda: dummy.refund("pi_none"),
        lambda: dummy.refunds.retrieve("re_none"),
        lambda: dummy.refund(dummy.confirm(dummy.create().id, "pm_card_createDispute").id),
        lambda: dummy.refunds.cancel(dummy.refund(dummy.pay().id).id),
        lambda: dummy.client_with("sk_live_1").v1.payment_intents.retrieve(intent.id),
    ):
        with pytest.raises(stripe.StripeError):
            call()
    dummy.intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    dummy.raw("get", "/v1/charges")


def test_every_body_matches_stripes_schema(dummy):
    states = create_intent_in_every_state(dummy)
    cause_every_error(dummy)
    dummy.intents.list({"limit": 100, "expand": ["data.latest_charge", "data.payment_method"]})
    dummy.refunds.list({"limit": 100, "expand": ["data.charge", "data.payment_intent"]})

    assert {state: intent.status for state, intent in states.items()} == {state: state for state in states}
    for response in dummy.http.exchanges:
        validate(kind_of(response.body), response.body)
    assert {response.status for response in dummy.http.exchanges} == {200, 400, 401, 402, 404, 429, 500}


def test_expanded_charges_match_stripes_schema(memory_dummy):
    create_intent_in_every_state(memory_dummy)
    cause_every_error(memory_dummy)
    page = memory_dummy.raw("get", "/v1/payment_intents?limit=100&expand[]=data.latest_charge").body

    charges = [intent["latest_charge"] for intent in page["data"] if intent["latest_charge"]]
    assert {charge["status"] for charge in charges} == {"succeeded", "pending", "failed"}
    assert {charge["refunded"] for charge in charges} == {True, False}
    for charge in charges:
        validate("charge", charge)


@pytest.mark.parametrize(
    ("kind", "sdk_class"),
    [("payment_intent", stripe.PaymentIntent), ("charge", stripe.Charge), ("payment_method", stripe.PaymentMethod)],
)
def test_objects_have_exactly_stripes_fields(memory_dummy, kind, sdk_class):
    intent = memory_dummy.create()
    memory_dummy.confirm(intent.id)
    body = memory_dummy.raw(
        "get", f"/v1/payment_intents/{intent.id}?expand[]=latest_charge&expand[]=payment_method"
    ).body
    if kind != "payment_intent":
        body = body["latest_charge" if kind == "charge" else "payment_method"]

    assert_has_stripes_fields(body, sdk_class)


def test_refund_has_exactly_stripes_fields(memory_dummy):
    create_refund_in_every_status(memory_dummy)
    refunds = memory_dummy.raw("get", "/v1/refunds").body["data"]

    assert {refund["status"] for refund in refunds} == set(RefundStatus)
    for refund in refunds:
        assert_has_stripes_fields(refund, stripe.Refund)


@pytest.mark.parametrize("event_type", EventType)
def test_event_matches_stripes_schema(memory_dummy, event_type):
    intent = memory_dummy.pay()
    memory_dummy.refund(intent.id)
    event = make_event(memory_dummy.store.intent(intent.id), event_type, memory_dummy.clock())

    validate("event", event)
    assert_has_stripes_fields(event, stripe.Event)
    subject = event["data"]["object"]
    validate(kind_of(subject), subject)
    assert subject["object"] == ("refund" if "refund." in event_type else event_type.partition(".")[0])


def test_errors_have_only_stripes_fields(memory_dummy):
    cause_every_error(memory_dummy)

    known = fields_of(stripe.ErrorObject)
    for response in memory_dummy.http.exchanges:
        if "error" in response.body:
            assert response.body["error"].keys() <= known.keys()
            assert None not in response.body["error"].values()


def test_every_response_has_stripes_headers(memory_dummy):
    create_intent_in_every_state(memory_dummy)
    cause_every_error(memory_dummy)

    for response in memory_dummy.http.exchanges:
        assert response.headers["Request-Id"].startswith("req_")
        assert response.headers["content-type"] == "application/json"


def test_headers_are_case_insensitive(memory_dummy):
    headers = memory_dummy.create("order-1").last_response.headers

    assert headers["IDEMPOTENCY-KEY"] == headers["idempotency-key"] == "order-1"
    assert headers["Stripe-Version"] == stripe.api_version
    assert "Stripe-Should-Retry" not in headers
