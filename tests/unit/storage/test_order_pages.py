"""Pages of a buyer's orders while the index still names orders that are gone."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from order_payments.domain.orders import Order, OrderLine
from order_payments.runtime import retry_budgets
from order_payments.storage.orders_table import OrdersTable
from order_payments.storage.paging import Page
from order_payments.storage.products_table import ProductsTable

NOW = datetime(2026, 11, 23, 10, 15, tzinfo=UTC)


@pytest.fixture
def orders(dynamodb: DynamoDBClient) -> OrdersTable:
    return OrdersTable(dynamodb, "OrdersTable", ProductsTable(dynamodb, "ProductsTable"))


@pytest.fixture
def place(orders: OrdersTable) -> Callable[[int], list[str]]:
    """Place orders of one buyer; the ids are returned with the newest first."""

    def place(number: int) -> list[str]:
        lines = [OrderLine("tea", "Tea", 1, 450)]
        placed = [Order.place("alice", lines, "usd", NOW + timedelta(seconds=second)) for second in range(number)]
        return [orders.create(order).order_id for order in reversed(placed)]

    return place


def lose(dynamodb: DynamoDBClient, gone: set[str]) -> None:
    """Have the table return none of these orders, which the index still names."""

    def leave_out(parsed: dict[str, Any], **_: object) -> None:
        found = parsed["Responses"]["OrdersTable"]
        parsed["Responses"]["OrdersTable"] = [item for item in found if item["orderId"]["S"] not in gone]

    dynamodb.meta.events.register("after-call.dynamodb.BatchGetItem", leave_out)


def pages(orders: OrdersTable, *, limit: int) -> list[Page[Order]]:
    """Follow the listing to its end."""
    found = [orders.page_of_buyer("alice", limit=limit, after=None)]
    while found[-1].last:
        found.append(orders.page_of_buyer("alice", limit=limit, after=found[-1].last))
    return found


def ids(found: list[Page[Order]]) -> list[list[str]]:
    return [[order.order_id for order in page.entries] for page in found]


@pytest.mark.parametrize(("first_gone", "last_gone"), [(0, 2), (0, 4), (1, 3), (2, 4), (3, 7)])
def test_orders_that_are_gone_do_not_end_the_listing(
    orders: OrdersTable, place: Callable[[int], list[str]], dynamodb: DynamoDBClient, first_gone: int, last_gone: int
) -> None:
    placed = place(8)
    lose(dynamodb, set(placed[first_gone:last_gone]))

    found = ids(pages(orders, limit=2))

    assert [order_id for page in found for order_id in page] == placed[:first_gone] + placed[last_gone:]
    assert all(found)


def test_listing_ends_when_all_orders_are_gone(
    orders: OrdersTable, place: Callable[[int], list[str]], dynamodb: DynamoDBClient
) -> None:
    lose(dynamodb, set(place(5)))

    assert ids(pages(orders, limit=2)) == [[]]


def test_page_without_time_left_is_empty_and_has_a_cursor(
    orders: OrdersTable,
    place: Callable[[int], list[str]],
    dynamodb: DynamoDBClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    placed = place(5)
    lose(dynamodb, set(placed[:4]))
    monkeypatch.setattr(retry_budgets, "ORDER_PAGE_BUDGET_SECONDS", -1.0)

    assert ids(pages(orders, limit=2)) == [[], [], placed[4:]]
