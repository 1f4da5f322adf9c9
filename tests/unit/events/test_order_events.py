"""Order events from stream records, and their published schema."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from delivery import event_schemas
from order_payments.domain.orders import OrderStatus, Override
from order_payments.domain.refunds import Refund, RefundKind, RefundStatus
from order_payments.events.order_events import OrderEvent, read_event
from order_payments.payments import ORDER_EXPIRED
from tests.support.order_stream import (
    DECLINED,
    SETTLED_AT,
    Record,
    change,
    claim,
    confirm,
    confirmation,
    creation,
    place,
    record,
)

REFUND_SCHEMA = Draft202012Validator(json.loads(event_schemas.REFUND.read_text()), format_checker=FormatChecker())
SCHEMA = Draft202012Validator(json.loads(event_schemas.ORDER.read_text()), format_checker=FormatChecker())


def test_repeated_record_gives_the_same_event() -> None:
    once = confirmation(place())

    assert read_event(once) == read_event(once)


@pytest.mark.parametrize(
    "unrelated",
    [
        record(placed_order := place(), claim(placed_order)),
        record(claim(placed_order), change(placed_order)),
        record(confirm(placed_order), change(confirm(placed_order))),
        record(placed_order, None),
    ],
    ids=["claim", "void", "refund", "removal"],
)
def test_write_without_a_status_change_is_not_published(unrelated: Record) -> None:
    assert read_event(unrelated) is None


@pytest.mark.parametrize(
    ("before", "after", "detail_type"),
    [
        (None, RefundStatus.OWED, None),
        (RefundStatus.OWED, RefundStatus.PENDING, None),
        (RefundStatus.OWED, RefundStatus.SUCCEEDED, "order.refunded"),
        (None, RefundStatus.SUCCEEDED, "order.refunded"),
        (RefundStatus.PENDING, RefundStatus.SUCCEEDED, "order.refunded"),
        (RefundStatus.SUCCEEDED, RefundStatus.FAILED, "order.refund_failed"),
        (RefundStatus.OWED, RefundStatus.REFUSED, "order.refund_failed"),
    ],
)
def test_change_of_a_refund_is_published_when_it_ends(
    before: RefundStatus | None, after: RefundStatus, detail_type: str | None
) -> None:
    order = confirm(place())
    earlier = [refund(RefundStatus.SUCCEEDED, "ref_0")]
    old = change(order, refunds=(*earlier, *([refund(before)] if before else [])), refunds_version=1)

    event = read_event(record(old, change(order, refunds=(*earlier, refund(after)), refunds_version=2)))

    assert (event and event.detail_type) == detail_type
    if event:
        detail = json.loads(event.detail)
        REFUND_SCHEMA.validate(detail)
        assert detail["eventId"] == event.event_id == f"{order.order_id}.ref_1.{after}"
        assert (detail["refund"]["refundId"], detail["refund"]["status"]) == ("ref_1", after)


def refund(status: RefundStatus, refund_id: str = "ref_1") -> Refund:
    return Refund(
        refund_id, RefundKind.STAFF, status, "pi_1", 100, created_at=SETTLED_AT, updated_at=SETTLED_AT, reason="Broken."
    )


def test_event_has_the_correlation_id_of_its_request() -> None:
    order = place()
    overridden = change(order, status="cancelled", reason=DECLINED, override=Override("ada", SETTLED_AT, "Lost."))

    expired = change(order, status="cancelled", reason=ORDER_EXPIRED, cancel_request_id="of-the-late-payment")
    orders = (order, confirm(order), overridden, expired)

    requests = [json.loads(OrderEvent.of(each).detail)["correlationId"] for each in orders]

    assert requests == ["of-the-order", "of-the-payment", None, "of-the-late-payment"]


def test_event_of_a_late_charge_has_the_orders_correlation_id() -> None:
    paid = confirm(place())
    assert paid.attempt is not None

    late = change(paid, attempt=replace(paid.attempt, request_id=None))

    assert json.loads(OrderEvent.of(late).detail)["correlationId"] == "of-the-order"


def test_event_of_an_expired_order_has_its_reason_and_expiry() -> None:
    order = place()

    event = read_event(record(order, change(order, status=OrderStatus.CANCELLED, reason=ORDER_EXPIRED)))

    assert event is not None
    detail = json.loads(event.detail)
    SCHEMA.validate(detail)
    assert event.detail_type == "order.cancelled"
    assert detail["order"]["reason"]["code"] == "order_expired"
    assert detail["order"]["expiresAt"] == "2026-11-26T05:50:20.090Z"


def test_schema_accepts_archived_events_without_expiry() -> None:
    event = read_event(creation(place()))
    assert event is not None
    detail = json.loads(event.detail)
    del detail["order"]["expiresAt"]

    SCHEMA.validate(detail)


@pytest.mark.parametrize("file", [event_schemas.ORDER, event_schemas.REFUND], ids=lambda file: file.name)
def test_schema_file_is_up_to_date(file: Path) -> None:
    assert file.read_text() == event_schemas.text_of(file), "docs/events is stale: run `make event-schemas`"


def test_schema_is_valid_and_allows_additional_fields() -> None:
    Draft202012Validator.check_schema(event_schemas.schema_of(event_schemas.ORDER))
    event = read_event(creation(place()))
    assert event is not None
    detail = json.loads(event.detail)

    SCHEMA.validate({**detail, "order": {**detail["order"], "colour": "green"}})
    for missing in detail:
        assert not SCHEMA.is_valid({name: value for name, value in detail.items() if name != missing})
    assert not SCHEMA.is_valid({**detail, "version": 2})
