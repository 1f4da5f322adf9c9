"""Writes on orders: their effect, their repetition, and the stock that changes in the same transaction."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from order_payments.audit.tables import AuditedTables
from order_payments.domain import orders as order_rules
from order_payments.domain.errors import Busy, OrderNotFound
from order_payments.domain.orders import (
    MAXIMUM_PRODUCTS,
    Order,
    OrderLine,
    OrderStatus,
    Override,
    PaymentAttempt,
    Reason,
    Shortage,
)
from order_payments.domain.refunds import Refund, RefundKind, RefundStatus, late_refund_id
from order_payments.runtime.clock import Deadline
from order_payments.runtime.metric_names import Count
from order_payments.runtime.observability import write_metrics
from order_payments.storage.dynamodb import from_wire
from order_payments.storage.orders_table import NotClaimable, OrdersTable, RefundsChanged, StockTooShort
from order_payments.storage.products_table import ProductsTable
from tests.support.metrics import metrics_in

NOW = datetime(2026, 11, 23, 10, 15, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)
PLENTY = Deadline.after(3600)
DECLINED = Reason("card_declined", "Your card was declined.", "generic_decline")
SHORT = Reason("insufficient_stock", "Not enough.")
CONFIRMED, CANCELLED = OrderStatus.CONFIRMED, OrderStatus.CANCELLED


@pytest.fixture
def products(dynamodb: DynamoDBClient) -> ProductsTable:
    table = ProductsTable(dynamodb, "ProductsTable")
    table.put("tea", name="Tea", unit_price=450, currency="usd", stock=10)
    table.put("cup", name="Cup", unit_price=1299, currency="usd", stock=3)
    return table


@pytest.fixture
def orders(dynamodb: DynamoDBClient, products: ProductsTable) -> OrdersTable:
    return OrdersTable(dynamodb, "OrdersTable", products)


@pytest.fixture
def order(orders: OrdersTable) -> Order:
    placed = Order.place("alice", [OrderLine("tea", "Tea", 4, 450), OrderLine("cup", "Cup", 2, 1299)], "usd", NOW)
    orders.create(placed)
    return placed


def attempt(key: str | None = None) -> PaymentAttempt:
    return PaymentAttempt(PaymentAttempt.new_id(), "pi_1", "pm_card_visa", NOW, key)


def stock(products: ProductsTable) -> list[tuple[int, int]]:
    return [(product.stock, product.available) for product in map(products.get, ("tea", "cup"))]


def unsettled(dynamodb: DynamoDBClient) -> list[str]:
    found = dynamodb.scan(TableName="OrdersTable", IndexName="unsettled")["Items"]
    return [from_wire(item)["orderId"] for item in found]


def test_creating_an_order_twice_keeps_the_first(orders: OrdersTable, order: Order) -> None:
    orders.create(replace(order, buyer_id="mallory"))

    assert orders.get(order.order_id) == order


def test_unknown_order_is_not_found(orders: OrdersTable) -> None:
    with pytest.raises(OrderNotFound):
        orders.get("ord_" + "0" * 32)


def test_claim_records_the_attempt_and_holds_the_stock(
    orders: OrdersTable, products: ProductsTable, order: Order, dynamodb: DynamoDBClient
) -> None:
    claimed = orders.claim(order, attempt(key="client-key"), deadline=PLENTY)

    assert orders.get(order.order_id) == claimed
    assert (claimed.status, claimed.payment_intent_id) == (OrderStatus.PENDING, "pi_1")
    assert stock(products) == [(10, 6), (3, 1)]
    assert unsettled(dynamodb) == [order.order_id]


def test_second_claim_is_refused_with_the_first_and_holds_nothing(
    orders: OrdersTable, products: ProductsTable, order: Order
) -> None:
    claimed = orders.claim(order, attempt(), deadline=PLENTY)

    with pytest.raises(NotClaimable) as refused:
        orders.claim(order, attempt(), deadline=PLENTY)

    assert refused.value.order == claimed
    assert stock(products) == [(10, 6), (3, 1)]


def test_claim_of_a_deleted_order_creates_nothing(
    orders: OrdersTable, products: ProductsTable, order: Order, dynamodb: DynamoDBClient
) -> None:
    dynamodb.delete_item(TableName="OrdersTable", Key={"orderId": {"S": order.order_id}})

    with pytest.raises(OrderNotFound):
        orders.claim(order, attempt(), deadline=PLENTY)

    assert dynamodb.scan(TableName="OrdersTable")["Items"] == []
    assert stock(products) == [(10, 10), (3, 3)]


def test_claim_above_the_stock_names_the_shortage_and_writes_nothing(
    orders: OrdersTable, products: ProductsTable, order: Order
) -> None:
    products.put("cup", name="Cup", unit_price=1299, currency="usd", stock=1)

    with pytest.raises(StockTooShort) as refused:
        orders.claim(order, attempt(), deadline=PLENTY)

    assert refused.value.shortages == (Shortage("cup", requested=2, available=1),)
    assert orders.get(order.order_id) == order
    assert stock(products) == [(10, 10), (1, 1)]


def test_claim_refused_by_order_and_stock_reports_the_order(
    orders: OrdersTable, products: ProductsTable, order: Order
) -> None:
    orders.claim(order, attempt(), deadline=PLENTY)
    products.put("cup", name="Cup", unit_price=1299, currency="usd", stock=2)

    with pytest.raises(NotClaimable):
        orders.claim(order, attempt(), deadline=PLENTY)


def settle(orders: OrdersTable, claimed: Order, status: OrderStatus) -> Order:
    if status is CONFIRMED:
        return orders.settle_confirmed(claimed, now=LATER, deadline=PLENTY)
    return orders.settle_cancelled(claimed, DECLINED, now=LATER, deadline=PLENTY)


@pytest.mark.parametrize(
    ("status", "reason", "left"),
    [(CONFIRMED, None, [(6, 6), (1, 1)]), (CANCELLED, DECLINED, [(10, 10), (3, 3)])],
)
def test_settlement_sells_or_releases_the_held_units(
    orders: OrdersTable,
    products: ProductsTable,
    order: Order,
    dynamodb: DynamoDBClient,
    status: OrderStatus,
    reason: Reason | None,
    left: list[tuple[int, int]],
) -> None:
    claimed = orders.claim(order, attempt(), deadline=PLENTY)

    settled = settle(orders, claimed, status)

    assert orders.get(order.order_id) == settled
    assert (settled.status, settled.reason, settled.updated_at) == (status, reason, LATER)
    assert stock(products) == left
    assert unsettled(dynamodb) == []


@pytest.mark.parametrize("first", [CONFIRMED, CANCELLED])
@pytest.mark.parametrize("second", [CONFIRMED, CANCELLED])
def test_second_settlement_returns_the_first_and_changes_no_stock(
    orders: OrdersTable, products: ProductsTable, order: Order, first: OrderStatus, second: OrderStatus
) -> None:
    claimed = orders.claim(order, attempt(), deadline=PLENTY)
    settled, after = settle(orders, claimed, first), stock(products)

    assert settle(orders, claimed, second) == settled
    assert stock(products) == after


def test_settlement_of_an_earlier_attempt_changes_nothing(
    orders: OrdersTable, products: ProductsTable, order: Order
) -> None:
    voided = orders.void(orders.claim(order, attempt(), deadline=PLENTY), was_refused=False, now=LATER, deadline=PLENTY)
    earlier = replace(order, attempt=attempt())
    current = orders.claim(voided, attempt(), deadline=PLENTY)

    assert orders.settle_confirmed(earlier, now=LATER, deadline=PLENTY) == current
    assert stock(products) == [(10, 6), (3, 1)]


def test_void_releases_the_units_and_the_order_can_be_claimed_again(
    orders: OrdersTable, products: ProductsTable, order: Order, dynamodb: DynamoDBClient
) -> None:
    voided = orders.void(orders.claim(order, attempt(), deadline=PLENTY), was_refused=False, now=LATER, deadline=PLENTY)

    assert orders.get(order.order_id) == voided
    assert voided.is_payable
    assert stock(products) == [(10, 10), (3, 3)]
    assert unsettled(dynamodb) == []
    assert orders.claim(voided, attempt(), deadline=PLENTY).attempt is not None


def test_void_of_a_settled_order_returns_the_settlement(
    orders: OrdersTable, products: ProductsTable, order: Order
) -> None:
    claimed = orders.claim(order, attempt(), deadline=PLENTY)
    settled = orders.settle_confirmed(claimed, now=LATER, deadline=PLENTY)

    assert orders.void(claimed, was_refused=True, now=LATER, deadline=PLENTY) == settled
    assert stock(products) == [(6, 6), (1, 1)]


def test_unclaimed_order_is_cancelled_with_its_attempt(
    orders: OrdersTable, products: ProductsTable, order: Order
) -> None:
    short = replace(attempt(key="client-key"), shortages=(Shortage("cup", 2, 1),))

    cancelled = orders.cancel_unclaimed(order, SHORT, attempt=short, now=LATER, deadline=PLENTY)

    assert orders.get(order.order_id) == cancelled
    assert (cancelled.status, cancelled.reason, cancelled.attempt) == (OrderStatus.CANCELLED, SHORT, short)
    assert stock(products) == [(10, 10), (3, 3)]


def test_order_cancelled_without_an_attempt_records_the_request(orders: OrdersTable, order: Order) -> None:
    cancelled = orders.cancel_unclaimed(
        order, SHORT, attempt=None, request_id="of-the-payment", now=LATER, deadline=PLENTY
    )

    assert orders.get(order.order_id) == cancelled
    assert (cancelled.attempt, cancelled.last_request_id) == (None, "of-the-payment")
    assert cancelled.as_placed() == order


def test_concurrently_claimed_order_is_not_cancelled(orders: OrdersTable, order: Order) -> None:
    claimed = orders.claim(order, attempt(), deadline=PLENTY)

    assert orders.cancel_unclaimed(order, SHORT, attempt=attempt(), now=LATER, deadline=PLENTY) == claimed
    assert orders.get(order.order_id) == claimed


@pytest.mark.parametrize("status", [OrderStatus.CONFIRMED, OrderStatus.CANCELLED])
@pytest.mark.parametrize("other_write", ["deleted", "overwritten", "lowered"])
def test_settlement_without_its_hold_settles_and_counts_a_mismatch(
    orders: OrdersTable,
    products: ProductsTable,
    order: Order,
    dynamodb: DynamoDBClient,
    capsys: pytest.CaptureFixture[str],
    other_write: str,
    status: OrderStatus,
) -> None:
    claimed = orders.claim(order, attempt(), deadline=PLENTY)
    cup = {"productId": {"S": "cup"}}
    match other_write:
        case "deleted":
            dynamodb.delete_item(TableName="ProductsTable", Key=cup)
        case "overwritten":
            dynamodb.put_item(TableName="ProductsTable", Item={**cup, "stock": {"N": "1"}})
        case "lowered":
            dynamodb.update_item(
                TableName="ProductsTable",
                Key=cup,
                UpdateExpression="SET stock = :one REMOVE available",
                ExpressionAttributeValues={":one": {"N": "1"}},
            )

    settled = settle(orders, claimed, status)
    write_metrics()

    assert (settled.status, orders.get(order.order_id)) == (status, settled)
    tea = products.get("tea")
    assert (tea.stock, tea.available) == ((6, 6) if status is OrderStatus.CONFIRMED else (10, 10))
    assert unsettled(dynamodb) == []
    assert metrics_in(capsys.readouterr().out)[Count.MISMATCH] == [1.0]


def test_void_without_its_hold_makes_the_order_payable(
    orders: OrdersTable, order: Order, dynamodb: DynamoDBClient
) -> None:
    claimed = orders.claim(order, attempt(), deadline=PLENTY)
    dynamodb.delete_item(TableName="ProductsTable", Key={"productId": {"S": "cup"}})

    voided = orders.void(claimed, was_refused=False, now=LATER, deadline=PLENTY)

    assert (voided.is_payable, orders.get(order.order_id)) == (True, voided)


@pytest.fixture
def held_cups(orders: OrdersTable, order: Order) -> None:  # noqa: ARG001 - needs the products
    other = Order.place("bob", [OrderLine("cup", "Cup", 2, 1299)], "usd", NOW)
    orders.create(other)
    orders.claim(other, attempt(), deadline=PLENTY)


@pytest.mark.usefixtures("held_cups")
def test_claim_of_held_units_is_busy_and_writes_nothing(
    orders: OrdersTable, products: ProductsTable, order: Order
) -> None:
    with pytest.raises(Busy):
        orders.claim(order, attempt(), deadline=PLENTY)

    assert orders.get(order.order_id) == order
    assert stock(products) == [(10, 10), (3, 1)]


@pytest.mark.usefixtures("held_cups")
def test_claim_with_held_and_sold_out_lines_names_the_sold_out_one(
    orders: OrdersTable, products: ProductsTable, order: Order
) -> None:
    products.put("tea", name="Tea", unit_price=450, currency="usd", stock=3)

    with pytest.raises(StockTooShort) as refused:
        orders.claim(order, attempt(), deadline=PLENTY)

    assert refused.value.shortages == (Shortage("tea", requested=4, available=3),)


@pytest.mark.parametrize("written", [{"stock": {"N": "2.5"}}, {"available": {"N": "3.5"}}])
def test_claim_of_a_product_with_invalid_stock_names_it(
    orders: OrdersTable, order: Order, dynamodb: DynamoDBClient, written: dict[str, Any]
) -> None:
    dynamodb.put_item(TableName="ProductsTable", Item={"productId": {"S": "tea"}, "stock": {"N": "9"}, **written})

    with pytest.raises(StockTooShort) as refused:
        orders.claim(order, attempt(), deadline=PLENTY)

    assert refused.value.shortages == (Shortage("tea", requested=4, available=0),)


@pytest.mark.parametrize("available", ["10", "-1"])
def test_claim_is_busy_if_available_is_out_of_range(
    orders: OrdersTable, order: Order, dynamodb: DynamoDBClient, available: str
) -> None:
    tea = {"productId": {"S": "tea"}, "stock": {"N": "9"}, "available": {"N": available}}
    dynamodb.put_item(TableName="ProductsTable", Item=tea)

    with pytest.raises(Busy):
        orders.claim(order, attempt(), deadline=PLENTY)

    assert orders.get(order.order_id) == order


@pytest.mark.parametrize(("status", "left"), [(CONFIRMED, [(5, 5), (1, 1)]), (CANCELLED, [(9, 9), (3, 3)])])
def test_settlement_with_an_overwritten_hold_sells_but_releases_nothing(
    orders: OrdersTable,
    products: ProductsTable,
    order: Order,
    dynamodb: DynamoDBClient,
    status: OrderStatus,
    left: list[tuple[int, int]],
) -> None:
    claimed = orders.claim(order, attempt(), deadline=PLENTY)
    tea = {"productId": {"S": "tea"}, "name": {"S": "Tea"}, "unitPrice": {"N": "450"}, "currency": {"S": "usd"}}
    dynamodb.put_item(TableName="ProductsTable", Item={**tea, "stock": {"N": "9"}, "available": {"N": "9"}})

    assert settle(orders, claimed, status).status is status
    assert stock(products) == left


def test_claim_with_a_stale_count_of_refused_attempts_is_refused(orders: OrdersTable, order: Order) -> None:
    counted = orders.count_refused_attempt(order, now=NOW, deadline=PLENTY)

    with pytest.raises(NotClaimable) as refused:
        orders.claim(order, attempt(), deadline=PLENTY)

    assert refused.value.order == counted
    assert orders.claim(counted, attempt(), deadline=PLENTY).attempt is not None


def test_refused_attempts_are_counted_before_and_after_a_claim(orders: OrdersTable, order: Order) -> None:
    order = orders.count_refused_attempt(order, now=NOW, deadline=PLENTY)
    order = orders.void(orders.claim(order, attempt(), deadline=PLENTY), was_refused=True, now=NOW, deadline=PLENTY)
    order = orders.void(orders.claim(order, attempt(), deadline=PLENTY), was_refused=False, now=NOW, deadline=PLENTY)

    assert order.refused_attempts == 2
    assert orders.get(order.order_id) == order


def test_stale_entry_is_removed_from_the_index(dynamodb: DynamoDBClient, orders: OrdersTable, order: Order) -> None:
    list_as_unsettled(dynamodb, order)

    assert orders.unsettled.remove_stale(orders.get(order.order_id)) is True
    assert unsettled(dynamodb) == []
    assert orders.get(order.order_id) == order
    assert orders.unsettled.remove_stale(orders.get(order.order_id)) is False


def test_entry_of_an_attempt_in_flight_is_not_removed(
    dynamodb: DynamoDBClient, orders: OrdersTable, order: Order
) -> None:
    orders.claim(order, attempt(), deadline=PLENTY)

    assert orders.unsettled.remove_stale(orders.get(order.order_id)) is False
    assert unsettled(dynamodb) == [order.order_id]


def test_entry_of_an_owed_refund_is_not_removed(dynamodb: DynamoDBClient, orders: OrdersTable, order: Order) -> None:
    claimed = orders.claim(order, attempt(), deadline=PLENTY)
    cancelled = orders.settle_cancelled(claimed, DECLINED, now=LATER, deadline=PLENTY)
    orders.owe_refund(cancelled, LATE_REFUND, deadline=PLENTY)

    assert orders.unsettled.remove_stale(orders.get(order.order_id)) is False
    assert unsettled(dynamodb) == [order.order_id]


class Write(NamedTuple):
    """A write whose condition depends on the order's status."""

    becomes: OrderStatus
    send: Callable[[OrdersTable, Order], object]
    is_claimed: bool = False
    is_for_settled: bool = False


LATE_REFUND = Refund(
    late_refund_id("pi_1"),
    RefundKind.LATE_PAYMENT,
    RefundStatus.OWED,
    "pi_1",
    1800,
    created_at=LATER,
    updated_at=LATER,
)
STAFF_REFUND = replace(
    LATE_REFUND, refund_id="ref_1", kind=RefundKind.STAFF, amount=1000, restock=(("tea", 2), ("cup", 1)), by="ada"
)
BY_HAND = (Reason("admin_override", "Paid in cash."), Override("admin", LATER, "Paid in cash."))
STATUS_WRITES = {
    "claim": Write(CONFIRMED, lambda orders, order: orders.claim(order, attempt(), deadline=PLENTY)),
    "settle_confirmed": Write(
        CONFIRMED, lambda orders, order: orders.settle_confirmed(order, now=LATER, deadline=PLENTY), is_claimed=True
    ),
    "settle_cancelled": Write(
        CANCELLED,
        lambda orders, order: orders.settle_cancelled(order, DECLINED, now=LATER, deadline=PLENTY),
        is_claimed=True,
    ),
    "void": Write(
        CONFIRMED,
        lambda orders, order: orders.void(order, was_refused=False, now=LATER, deadline=PLENTY),
        is_claimed=True,
    ),
    "count_refused_attempt": Write(
        CONFIRMED, lambda orders, order: orders.count_refused_attempt(order, now=LATER, deadline=PLENTY)
    ),
    "cancel_unclaimed": Write(
        CANCELLED,
        lambda orders, order: orders.cancel_unclaimed(order, SHORT, attempt=None, now=LATER, deadline=PLENTY),
    ),
    "confirm_by_hand": Write(
        CONFIRMED, lambda orders, order: orders.settle_by_hand(order, CONFIRMED, *BY_HAND, deadline=PLENTY)
    ),
    "cancel_by_hand": Write(
        CANCELLED, lambda orders, order: orders.settle_by_hand(order, CANCELLED, *BY_HAND, deadline=PLENTY)
    ),
    "owe_refund": Write(
        CONFIRMED,
        lambda orders, order: orders.owe_refund(order, LATE_REFUND, deadline=PLENTY),
        is_for_settled=True,
    ),
    "remove_stale": Write(
        CONFIRMED,
        lambda orders, order: orders.unsettled.remove_stale(orders.get(order.order_id)),
        is_claimed=True,
        is_for_settled=True,
    ),
}


@pytest.fixture
def other_transitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow only transitions between the final statuses, and none from `pending`."""
    ends = frozenset({CONFIRMED, CANCELLED})
    transitions = {OrderStatus.PENDING: frozenset[OrderStatus](), CONFIRMED: ends, CANCELLED: ends}
    monkeypatch.setattr(order_rules, "TRANSITIONS", transitions)


@pytest.mark.usefixtures("other_transitions")
@pytest.mark.parametrize("status", OrderStatus)
@pytest.mark.parametrize("name", STATUS_WRITES)
def test_status_writes_follow_the_transition_table(
    name: str, status: OrderStatus, dynamodb: DynamoDBClient, orders: OrdersTable
) -> None:
    write = STATUS_WRITES[name]
    order = Order.place("alice", [OrderLine("tea", "Tea", 4, 450)], "usd", NOW)
    if write.is_claimed:
        order = replace(order, attempt=attempt())
    orders.create(replace(order, status=status))
    list_as_unsettled(dynamodb, order)
    before = dynamodb.get_item(TableName="OrdersTable", Key={"orderId": {"S": order.order_id}})["Item"]

    with suppress(NotClaimable, RefundsChanged):
        write.send(orders, order)

    after = dynamodb.get_item(TableName="OrdersTable", Key={"orderId": {"S": order.order_id}})["Item"]
    is_open = write.becomes in order_rules.TRANSITIONS[status]
    assert (after != before) == (is_open != write.is_for_settled)


@pytest.mark.usefixtures("other_transitions")
@pytest.mark.parametrize("status", OrderStatus)
def test_only_payments_that_can_be_settled_are_listed_as_unsettled(
    status: OrderStatus, dynamodb: DynamoDBClient, orders: OrdersTable
) -> None:
    paid = Order.place("alice", [OrderLine("tea", "Tea", 4, 450)], "usd", NOW)
    orders.create(replace(paid, status=status, attempt=attempt()))

    is_listed = AuditedTables(dynamodb, "OrdersTable", "ProductsTable").list_as_unsettled(paid.order_id)

    assert is_listed == (CONFIRMED in order_rules.TRANSITIONS[status])


def list_as_unsettled(dynamodb: DynamoDBClient, order: Order) -> None:
    dynamodb.update_item(
        TableName="OrdersTable",
        Key={"orderId": {"S": order.order_id}},
        UpdateExpression="SET unsettledShard = :shard, unsettledSince = :since",
        ExpressionAttributeValues={":shard": {"S": "unsettled-0"}, ":since": {"S": "2026-01-01T00:00:00.000Z"}},
    )


def test_refund_is_recorded_with_its_units_on_the_shelf(
    dynamodb: DynamoDBClient, orders: OrdersTable, products: ProductsTable, order: Order
) -> None:
    confirmed = confirm(orders, order)
    owed = orders.owe_refund(confirmed, STAFF_REFUND, deadline=PLENTY)
    assert (stock(products), unsettled(dynamodb)) == ([(6, 6), (1, 1)], [order.order_id])

    sent = replace(STAFF_REFUND, status=RefundStatus.SUCCEEDED, stripe_refund_id="re_1")
    recorded = orders.record_refund(owed, sent, deadline=PLENTY)

    assert recorded == orders.get(order.order_id)
    assert recorded.refunds == (sent,)
    assert (stock(products), unsettled(dynamodb)) == ([(8, 8), (2, 2)], [])


def test_refund_is_recorded_and_restocked_once(orders: OrdersTable, products: ProductsTable, order: Order) -> None:
    owed = orders.owe_refund(confirm(orders, order), STAFF_REFUND, deadline=PLENTY)
    sent = replace(STAFF_REFUND, status=RefundStatus.SUCCEEDED, stripe_refund_id="re_1")
    recorded = orders.record_refund(owed, sent, deadline=PLENTY)

    with pytest.raises(RefundsChanged) as changed:
        orders.record_refund(owed, sent, deadline=PLENTY)

    assert changed.value.order == recorded
    assert stock(products) == [(8, 8), (2, 2)]


def test_refunds_that_were_checked_against_an_old_list_are_not_written(orders: OrdersTable, order: Order) -> None:
    confirmed = confirm(orders, order)
    first = orders.owe_refund(confirmed, STAFF_REFUND, deadline=PLENTY)

    with pytest.raises(RefundsChanged):
        orders.owe_refund(confirmed, replace(STAFF_REFUND, refund_id="ref_2"), deadline=PLENTY)

    assert orders.get(order.order_id).refunds == first.refunds == (STAFF_REFUND,)


@pytest.mark.slow
def test_refund_restocks_every_product_of_the_largest_order(orders: OrdersTable, products: ProductsTable) -> None:
    names = [f"product-{number}" for number in range(MAXIMUM_PRODUCTS)]
    for name in names:
        products.put(name, name=name, unit_price=100, currency="usd", stock=1)
    order = Order.place("alice", [OrderLine(name, name, 1, 100) for name in names], "usd", NOW)
    orders.create(replace(order, status=CONFIRMED))
    refund = replace(STAFF_REFUND, amount=100, restock=tuple((name, 1) for name in names))
    owed = orders.owe_refund(replace(order, status=CONFIRMED), refund, deadline=PLENTY)

    orders.record_refund(owed, replace(refund, status=RefundStatus.SUCCEEDED), deadline=PLENTY)

    assert {products.get(name).stock for name in names} == {2}


def confirm(orders: OrdersTable, order: Order) -> Order:
    claimed = orders.claim(order, attempt(), deadline=PLENTY)
    return orders.settle_confirmed(claimed, now=LATER, deadline=PLENTY)
