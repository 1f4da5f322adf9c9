"""Orders and the table of their status transitions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from order_payments.domain.orders import (
    TRANSITIONS,
    Order,
    OrderLine,
    OrderStatus,
    PaymentAttempt,
    is_order_id,
    statuses_before,
)

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ALLOWED = {(OrderStatus.PENDING, OrderStatus.CONFIRMED), (OrderStatus.PENDING, OrderStatus.CANCELLED)}


@pytest.mark.parametrize(("before", "after"), list(product(OrderStatus, OrderStatus)))
def test_only_pending_orders_change_status_and_only_to_a_final_one(before: OrderStatus, after: OrderStatus) -> None:
    assert (after in TRANSITIONS[before]) == ((before, after) in ALLOWED)


@pytest.mark.parametrize("end", [OrderStatus.CONFIRMED, OrderStatus.CANCELLED])
def test_final_status_is_reached_only_from_pending(end: OrderStatus) -> None:
    assert statuses_before(end) == (OrderStatus.PENDING,)


def test_placed_order_is_pending_with_the_total_of_its_lines() -> None:
    lines = [OrderLine("tea", "Tea", 2, 450), OrderLine("cup", "Cup", 1, 1299)]

    order = Order.place("alice", lines, "usd", NOW)

    assert (order.status, order.total_amount, order.attempt) == (OrderStatus.PENDING, 2199, None)
    assert is_order_id(order.order_id)


def test_quantities_add_up_the_lines_of_one_product() -> None:
    lines = [OrderLine("tea", "Tea", 2, 450), OrderLine("cup", "Cup", 1, 1299), OrderLine("tea", "Tea", 3, 450)]

    assert Order.place("alice", lines, "usd", NOW).quantities() == {"tea": 5, "cup": 1}


def test_unclaimed_order_has_no_attempt_in_flight() -> None:
    order = Order.place("alice", [], "usd", NOW)

    assert order.in_flight is None
    with pytest.raises(ValueError, match="no attempt in flight"):
        order.require_in_flight()


@pytest.mark.parametrize(("seconds", "is_expired"), [(-1, False), (0, True), (1, True)])
@pytest.mark.parametrize("is_recorded", [True, False])
def test_order_expires_at_its_recorded_time_or_after_the_configured_one(
    is_recorded: bool, seconds: int, is_expired: bool
) -> None:
    order = Order.place("alice", [], "usd", NOW, expires_at=NOW + timedelta(hours=1) if is_recorded else None)
    valid_for = timedelta(hours=1 if not is_recorded else 72)

    assert order.is_expired(NOW + timedelta(hours=1, seconds=seconds), valid_for=valid_for) is is_expired


@pytest.mark.parametrize("status", OrderStatus)
def test_attempt_is_in_flight_while_its_order_is_pending(status: OrderStatus) -> None:
    attempt = PaymentAttempt(PaymentAttempt.new_id(), "pi_1", "pm_card_visa", NOW)
    order = replace(Order.place("alice", [], "usd", NOW), status=status, attempt=attempt)

    assert order.in_flight == (attempt if status is OrderStatus.PENDING else None)


@pytest.mark.parametrize(
    "text", ["", "ord_", "ord_" + "g" * 32, "ord_" + "0" * 33, " ord_" + "0" * 32, "ord_" + "A" * 32]
)
def test_malformed_order_id_is_refused(text: str) -> None:
    assert not is_order_id(text)
