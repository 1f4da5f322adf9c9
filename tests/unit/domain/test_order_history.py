"""History of an order: the events with their actors and requests."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from order_payments.domain.order_history import history_of
from order_payments.domain.orders import (
    UNKNOWN_PAYMENT_METHOD,
    Order,
    OrderLine,
    OrderStatus,
    Override,
    PaymentAttempt,
    Reason,
)
from order_payments.domain.refunds import Refund, RefundFailure, RefundKind, RefundStatus, advance

NOW = datetime(2026, 11, 23, tzinfo=UTC)
PLACED = Order.place("alice", [OrderLine("tea", "Tea", 1, 450)], "usd", NOW, request_id="req-placed")
DECLINED = Reason("card_declined", "Your card was declined.")


def after(seconds: int) -> datetime:
    return NOW + timedelta(seconds=seconds)


PAID = replace(
    PLACED,
    status=OrderStatus.CONFIRMED,
    attempt=PaymentAttempt("att_1", "pi_1", "pm_card_visa", after(1), request_id="req-paid"),
    updated_at=after(2),
)
STAFF = Refund(
    "ref_1",
    RefundKind.STAFF,
    RefundStatus.OWED,
    "pi_1",
    100,
    after(3),
    after(3),
    reason="Broken.",
    by="ada",
    request_id="req-refund",
)
LATE = replace(STAFF, kind=RefundKind.LATE_PAYMENT, reason=None, by=None, request_id=None)


def story(order: Order) -> list[tuple[str, int, str | None, str | None]]:
    """Return the event, the seconds since the order was placed, the actor and the request of each entry."""
    return [
        (entry.event.value, round((entry.at - NOW).total_seconds()), entry.actor, entry.request_id)
        for entry in history_of(order)
    ]


def with_refund(refund: Refund) -> list[tuple[str, int, str | None, str | None]]:
    """Return the entries that a refund adds to the history of a paid order."""
    return story(replace(PAID, refunds=(refund,)))[3:]


def test_pending_order_was_placed_by_its_buyer() -> None:
    assert story(PLACED) == [("placed", 0, "alice", "req-placed")]


@pytest.mark.parametrize("status", [OrderStatus.CONFIRMED, OrderStatus.CANCELLED])
def test_payment_is_started_by_the_buyer_and_settled_by_the_service(status: OrderStatus) -> None:
    reason = DECLINED if status is OrderStatus.CANCELLED else None
    order = replace(PAID, status=status, reason=reason)

    assert story(order) == [
        ("placed", 0, "alice", "req-placed"),
        ("payment_started", 1, "alice", "req-paid"),
        (status.value, 2, None, "req-paid"),
    ]
    assert history_of(order)[-1].reason == reason


def test_charge_of_a_voided_attempt_has_no_payer_and_no_payment_method() -> None:
    found = PaymentAttempt("att_2", "pi_1", UNKNOWN_PAYMENT_METHOD, after(1))

    _, started, _ = history_of(replace(PAID, attempt=found))

    assert (started.actor, started.request_id, started.payment_method_id) == (None, None, None)


def test_expired_order_is_cancelled_by_the_payers_request() -> None:
    expired = Reason("order_expired", "The order has expired.")
    order = replace(
        PLACED, status=OrderStatus.CANCELLED, reason=expired, cancel_request_id="req-late", updated_at=after(9)
    )

    assert story(order)[1:] == [("cancelled", 9, "alice", "req-late")]


def test_override_is_the_admins() -> None:
    override = Override("ada", after(5), "Paid in cash.", "req-override")
    order = replace(PLACED, status=OrderStatus.CONFIRMED, override=override, updated_at=after(5))

    assert story(order)[1:] == [("confirmed", 5, "ada", "req-override")]


def test_owed_refund_is_only_requested() -> None:
    assert with_refund(STAFF) == [("refund_requested", 3, "ada", "req-refund")]


@pytest.mark.parametrize("status", [RefundStatus.PENDING, RefundStatus.SUCCEEDED])
def test_sent_refund_has_its_request_and_its_status(status: RefundStatus) -> None:
    sent = advance(STAFF, status, now=after(4), stripe_refund_id="re_1")

    assert with_refund(sent) == [
        ("refund_requested", 3, "ada", "req-refund"),
        (f"refund_{status.value}", 4, None, None),
    ]


@pytest.mark.parametrize("status", [RefundStatus.FAILED, RefundStatus.REFUSED])
def test_unsuccessful_refund_has_its_reason(status: RefundStatus) -> None:
    refused = advance(STAFF, status, now=after(7), failure=RefundFailure("charge_disputed", "Disputed."))

    last = history_of(replace(PAID, refunds=(refused,)))[-1]

    assert (last.event.value, last.at) == (f"refund_{status.value}", after(7))
    assert last.reason == Reason("charge_disputed", "Disputed.")


def test_refund_of_a_late_payment_is_requested_by_the_service() -> None:
    assert with_refund(LATE) == [("refund_requested", 3, None, None)]


def test_refund_made_at_stripe_was_requested_by_no_one_here() -> None:
    external = replace(LATE, kind=RefundKind.EXTERNAL, status=RefundStatus.SUCCEEDED)

    assert with_refund(external) == [("refund_succeeded", 3, None, None)]


def test_entries_of_several_refunds_are_in_the_order_of_their_times() -> None:
    first = advance(STAFF, RefundStatus.SUCCEEDED, now=after(9), stripe_refund_id="re_1")
    second = replace(first, refund_id="ref_2", created_at=after(5), updated_at=after(6))

    times = [at for _, at, _, _ in story(replace(PAID, refunds=(first, second)))]

    assert times == [0, 1, 2, 3, 5, 6, 9]
