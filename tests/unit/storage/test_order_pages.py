"""Pages of a buyer's orders while the index still has entries of deleted orders."""

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
    """Return a function that places orders of one buyer and returns their ids, newest first."""

    def place(number: int) -> list[str]:
        lines = [OrderLine("tea", "Tea", 1, 450)]
        placed = [Order.place("alice", lines, "usd", NOW + timedelta(seconds=second)) for second in range(number)]
        return [orders.create(order).order_id for order in reversed(placed)]

    return place


def delete(dynamodb: DynamoDBClient, deleted: set[str]) -> None:
    """Make the table return none of these orders, which the index still has."""

    def remove(parsed: dict[str, Any], **_: object) -> None:
        found = parsed["Responses"]["OrdersTable"]
        parsed["Responses"]["OrdersTable"] = [item for item in found if item["orderId"]["S"] not in deleted]

    dynamodb.meta.events.register("after-call.dynamodb.BatchGetItem", remove)


def pages(orders: OrdersTable, *, limit: int) -> list[Page[Order]]:
    """Return all pages of the listing."""
    found = [orders.page_of_buyer("alice", limit=limit, after=None)]
    while found[-1].last:
        found.append(orders.page_of_buyer("alice", limit=limit, after=found[-1].last))
    return found


def ids(found: list[Page[Order]]) -> list[list[str]]:
    return [[order.order_id for order in page.entries] for page in found]


@pytest.mark.parametrize(("start", "end"), [(0, 2), (0, 4), (1, 3), (2, 4), (3, 7)])
def test_deleted_orders_do_not_end_the_listing(
    orders: OrdersTable, place: Callable[[int], list[str]], dynamodb: DynamoDBClient, start: int, end: int
) -> None:
    placed = place(8)
    delete(dynamodb, set(placed[start:end]))

    found = ids(pages(orders, limit=2))

    assert [order_id for page in found for order_id in page] == placed[:start] + placed[end:]
    assert all(found)


def test_listing_ends_if_all_orders_are_deleted(
    orders: OrdersTable, place: Callable[[int], list[str]], dynamodb: DynamoDBClient
) -> None:
    delete(dynamodb, set(place(5)))

    assert ids(pages(orders, limit=2)) == [[]]


def test_page_without_time_left_is_empty_and_has_a_cursor(
    orders: OrdersTable,
    place: Callable[[int], list[str]],
    dynamodb: DynamoDBClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    placed = place(5)
    delete(dynamodb, set(placed[:4]))
    monkeypatch.setattr(retry_budgets, "ORDER_PAGE_BUDGET_SECONDS", -1.0)

    assert ids(pages(orders, limit=2)) == [[], [], placed[4:]]
