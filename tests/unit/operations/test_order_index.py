"""`./operate index-orders`: orders of earlier releases enter the list of all orders."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from mypy_boto3_dynamodb import DynamoDBClient

from operations.order_index import index_orders
from order_payments.domain.orders import Order, OrderLine
from order_payments.runtime.clock import utc_now
from order_payments.storage.dynamodb import to_wire
from order_payments.storage.order_pages import OrderFilter, OrderPages
from order_payments.storage.order_records import order_to_item

TABLE = "OrdersTable"
Item = dict[str, Any]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the pauses instead of making them."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


@pytest.fixture
def place_old(dynamodb: DynamoDBClient) -> Callable[[int], list[Item]]:
    """Return a function that writes orders as the previous release does, and returns their items."""

    def place_old(number: int) -> list[Item]:
        orders = [Order.place("alice", [OrderLine("tea", "Tea", 1, 450)], "usd", utc_now()) for _ in range(number)]
        items = [to_wire(order_to_item(order)) for order in orders]
        for item in items:
            old = {name: value for name, value in item.items() if not name.startswith("placed")}
            dynamodb.put_item(TableName=TABLE, Item=old)
        return items

    return place_old


def index(dynamodb: DynamoDBClient, *, per_second: int = 100) -> int:
    return index_orders(dynamodb, TABLE, per_second=per_second, on_progress=lambda _: None)


def stored(dynamodb: DynamoDBClient) -> list[Item]:
    return sorted(dynamodb.scan(TableName=TABLE)["Items"], key=lambda item: item["orderId"]["S"])


def test_order_of_an_earlier_release_is_stored_like_a_new_one(
    dynamodb: DynamoDBClient, place_old: Callable[[int], list[Item]]
) -> None:
    items = place_old(7)
    pages = OrderPages(dynamodb, TABLE)
    assert len(pages.page(OrderFilter("alice"), limit=9, after=None).entries) == 7
    assert not pages.page(OrderFilter(), limit=9, after=None).entries

    assert index(dynamodb) == 7

    assert stored(dynamodb) == sorted(items, key=lambda item: item["orderId"]["S"])
    assert len(pages.page(OrderFilter(), limit=9, after=None).entries) == 7


def test_second_run_writes_nothing(dynamodb: DynamoDBClient, place_old: Callable[[int], list[Item]]) -> None:
    place_old(3)
    index(dynamodb)
    dynamodb.meta.events.register("before-call.dynamodb.UpdateItem", lambda **_: pytest.fail("a second write"))

    assert index(dynamodb) == 0


def test_writes_are_throttled(
    dynamodb: DynamoDBClient, place_old: Callable[[int], list[Item]], pauses: list[float]
) -> None:
    place_old(5)

    assert index(dynamodb, per_second=2) == 5

    assert len(pauses) == 3


def test_interrupted_run_continues(dynamodb: DynamoDBClient, place_old: Callable[[int], list[Item]]) -> None:
    place_old(5)

    def interrupt(number: int) -> None:
        if number >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_orders(dynamodb, TABLE, per_second=2, on_progress=interrupt)

    assert index(dynamodb) == 3


def test_order_that_is_being_paid_is_tried_again(
    dynamodb: DynamoDBClient, place_old: Callable[[int], list[Item]], monkeypatch: pytest.MonkeyPatch
) -> None:
    place_old(3)
    update, errors = dynamodb.update_item, iter(["TransactionConflictException"])

    def update_or_fail(**request: Any) -> Any:
        if code := next(errors, None):
            raise ClientError({"Error": {"Code": code, "Message": ""}}, "UpdateItem")
        return update(**request)

    monkeypatch.setattr(dynamodb, "update_item", update_or_fail)

    assert index(dynamodb) == 3
    assert all("placedKey" in item for item in stored(dynamodb))


def test_order_that_was_deleted_meanwhile_is_not_created_again(
    dynamodb: DynamoDBClient, place_old: Callable[[int], list[Item]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (item,) = place_old(1)
    update = dynamodb.update_item

    def update_after_delete(**request: Any) -> Any:
        dynamodb.delete_item(TableName=TABLE, Key={"orderId": item["orderId"]})
        return update(**request)

    monkeypatch.setattr(dynamodb, "update_item", update_after_delete)

    assert index(dynamodb) == 0
    assert stored(dynamodb) == []


def test_other_error_ends_the_run(
    dynamodb: DynamoDBClient, place_old: Callable[[int], list[Item]], monkeypatch: pytest.MonkeyPatch
) -> None:
    place_old(1)
    denied = ClientError({"Error": {"Code": "AccessDeniedException", "Message": ""}}, "UpdateItem")

    def refuse(**_: Any) -> Any:
        raise denied

    monkeypatch.setattr(dynamodb, "update_item", refuse)

    with pytest.raises(ClientError, match="AccessDenied"):
        index(dynamodb)


def test_items_that_are_not_orders_are_left_alone(dynamodb: DynamoDBClient) -> None:
    foreign = [{"orderId": {"S": "a"}}, {"orderId": {"S": "b"}, "createdAt": {"N": "5"}}]
    for item in foreign:
        dynamodb.put_item(TableName=TABLE, Item=item)

    assert index(dynamodb) == 0
    assert stored(dynamodb) == foreign
