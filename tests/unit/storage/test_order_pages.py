"""Pages of orders: deleted orders, filters, orders of the same millisecond, and the number of requests."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from order_payments.domain.orders import Order, OrderLine, OrderStatus, Reason
from order_payments.runtime import retry_budgets
from order_payments.runtime.clock import Deadline
from order_payments.storage.order_indexes import PLACED_SHARDS
from order_payments.storage.order_pages import OrderFilter, OrderPages
from order_payments.storage.orders_table import OrdersTable
from order_payments.storage.paging import Page
from order_payments.storage.products_table import ProductsTable

NOW = datetime(2026, 11, 23, 10, 15, tzinfo=UTC)
ALL, OF_ALICE = OrderFilter(), OrderFilter("alice")
BOTH_LISTINGS = pytest.mark.parametrize("wanted", [OF_ALICE, ALL], ids=["of a buyer", "of all"])

Place = Callable[..., list[Order]]


@pytest.fixture
def pages(dynamodb: DynamoDBClient) -> OrderPages:
    return OrderPages(dynamodb, "OrdersTable")


@pytest.fixture
def orders(dynamodb: DynamoDBClient) -> OrdersTable:
    return OrdersTable(dynamodb, "OrdersTable", ProductsTable(dynamodb, "ProductsTable"))


@pytest.fixture
def place(orders: OrdersTable) -> Place:
    """Return a function that places orders a second apart and returns them, newest first."""

    def place(number: int, *, buyer: str = "alice", step: timedelta = timedelta(seconds=1)) -> list[Order]:
        lines = [OrderLine("tea", "Tea", 1, 450)]
        placed = [Order.place(buyer, lines, "usd", NOW + each * step) for each in range(number)]
        return [orders.create(order) for order in reversed(placed)]

    return place


def delete(dynamodb: DynamoDBClient, deleted: list[Order]) -> None:
    """Make the table return none of these orders, which the index still has."""
    ids = {order.order_id for order in deleted}

    def remove(parsed: dict[str, Any], **_: object) -> None:
        found = parsed["Responses"]["OrdersTable"]
        parsed["Responses"]["OrdersTable"] = [item for item in found if item["orderId"]["S"] not in ids]

    dynamodb.meta.events.register("after-call.dynamodb.BatchGetItem", remove)


def flat(pages: list[list[Order]]) -> list[Order]:
    return list(chain.from_iterable(pages))


def read_all(pages: OrderPages, wanted: OrderFilter, *, limit: int) -> list[list[Order]]:
    """Return the orders of all pages of the listing."""
    found: list[Page[Order]] = [pages.page(wanted, limit=limit, after=None)]
    while found[-1].last:
        found.append(pages.page(wanted, limit=limit, after=found[-1].last))
    return [list(page.entries) for page in found]


@BOTH_LISTINGS
@pytest.mark.parametrize(("start", "end"), [(0, 2), (0, 4), (1, 3), (2, 4), (3, 7)])
def test_deleted_orders_do_not_end_the_listing(
    pages: OrderPages, place: Place, dynamodb: DynamoDBClient, wanted: OrderFilter, start: int, end: int
) -> None:
    placed = place(8)
    delete(dynamodb, placed[start:end])

    found = read_all(pages, wanted, limit=2)

    assert flat(found) == placed[:start] + placed[end:]
    assert all(found)


@BOTH_LISTINGS
def test_listing_ends_if_all_orders_are_deleted(
    pages: OrderPages, place: Place, dynamodb: DynamoDBClient, wanted: OrderFilter
) -> None:
    delete(dynamodb, place(5))

    assert read_all(pages, wanted, limit=2) == [[]]


@BOTH_LISTINGS
def test_page_without_time_left_is_empty_and_has_a_cursor(
    pages: OrderPages,
    place: Place,
    dynamodb: DynamoDBClient,
    monkeypatch: pytest.MonkeyPatch,
    wanted: OrderFilter,
) -> None:
    placed = place(5)
    delete(dynamodb, placed[:4])
    monkeypatch.setattr(retry_budgets, "ORDER_PAGE_BUDGET_SECONDS", -1.0)

    assert read_all(pages, wanted, limit=2) == [[], [], placed[4:]]


@pytest.mark.parametrize("limit", [1, 3, 40, 100])
def test_orders_of_all_shards_are_listed_newest_first(pages: OrderPages, place: Place, limit: int) -> None:
    placed = place(40)

    found = read_all(pages, ALL, limit=limit)

    assert flat(found) == placed
    assert all(len(page) == limit for page in found[:-1])


@pytest.mark.slow
def test_orders_are_spread_over_all_shards(place: Place, dynamodb: DynamoDBClient) -> None:
    place(400)

    shards = Counter(item["placedShard"]["S"] for item in dynamodb.scan(TableName="OrdersTable")["Items"])

    assert shards.keys() == set(PLACED_SHARDS)
    assert max(shards.values()) < 3 * 400 / len(PLACED_SHARDS)


@BOTH_LISTINGS
@pytest.mark.parametrize("limit", [1, 2, 7])
def test_orders_of_the_same_millisecond_are_listed_once_each(
    pages: OrderPages, place: Place, wanted: OrderFilter, limit: int
) -> None:
    placed = place(20, step=timedelta(0))

    found = flat(read_all(pages, wanted, limit=limit))

    assert sorted(order.order_id for order in found) == sorted(order.order_id for order in placed)


@BOTH_LISTINGS
@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (None, None, slice(0, 8)),
        (2, 5, slice(2, 6)),
        (None, 5, slice(0, 6)),
        (2, None, slice(2, 8)),
        (3, 3, slice(3, 4)),
    ],
)
def test_both_ends_of_the_period_belong_to_it(
    pages: OrderPages, place: Place, wanted: OrderFilter, first: int | None, last: int | None, expected: slice
) -> None:
    placed = place(8)  # newest first
    newest, oldest = (None if place is None else placed[place].created_at for place in (first, last))

    found = read_all(pages, wanted._replace(placed_from=oldest, placed_to=newest), limit=2)

    assert flat(found) == placed[expected]
    assert all(len(page) == 2 for page in found[:-1])


@BOTH_LISTINGS
def test_period_may_lie_at_either_end_of_time(pages: OrderPages, place: Place, wanted: OrderFilter) -> None:
    placed = place(2)
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

    assert pages.page(wanted._replace(placed_from=first, placed_to=last), limit=5, after=None).entries == placed
    assert not pages.page(wanted._replace(placed_to=first), limit=5, after=None).entries
    assert not pages.page(wanted._replace(placed_from=last), limit=5, after=None).entries


@BOTH_LISTINGS
def test_page_reads_as_many_orders_as_it_may_return(
    pages: OrderPages, place: Place, orders: OrdersTable, wanted: OrderFilter
) -> None:
    placed = place(7)
    reason = Reason("admin_override", "Out of stock.")
    cancelled = [
        orders.cancel_unclaimed(placed[at], reason, attempt=None, now=NOW, deadline=Deadline.after(1))
        for at in (1, 2, 6)
    ]

    found = read_all(pages, wanted._replace(status=OrderStatus.CANCELLED), limit=2)

    assert found == [cancelled[:1], cancelled[1:2], [], cancelled[2:]]


def test_listing_of_all_orders_shows_those_of_every_buyer(pages: OrderPages, place: Place) -> None:
    placed = [*place(3, buyer="alice"), *place(3, buyer="bob")]

    found = flat(read_all(pages, ALL, limit=4))

    assert {order.order_id for order in found} == {order.order_id for order in placed}


@pytest.mark.parametrize(
    ("wanted", "queries"), [(OF_ALICE, 1), (ALL, len(PLACED_SHARDS))], ids=["of a buyer", "of all"]
)
@pytest.mark.parametrize("number", [0, 5, 60])
def test_number_of_requests_of_a_page_does_not_depend_on_the_number_of_orders(
    pages: OrderPages, place: Place, dynamodb: DynamoDBClient, wanted: OrderFilter, queries: int, number: int
) -> None:
    place(number)
    requests: Counter[str] = Counter()
    dynamodb.meta.events.register("before-call.dynamodb", lambda model, **_: requests.update([model.name]))

    pages.page(wanted._replace(status=OrderStatus.CANCELLED), limit=5, after=None)

    assert requests == {"Query": queries} | ({"BatchGetItem": 1} if number else {})


def test_each_order_is_read_strongly_consistent(pages: OrderPages, place: Place, dynamodb: DynamoDBClient) -> None:
    place(1)
    reads: list[dict[str, Any]] = []
    dynamodb.meta.events.register(
        "provide-client-params.dynamodb.BatchGetItem", lambda params, **_: reads.append(params["RequestItems"])
    )

    pages.page(ALL, limit=5, after=None)

    assert [read["OrdersTable"]["ConsistentRead"] for read in reads] == [True]
