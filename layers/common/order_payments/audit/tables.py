"""What the audit reads of the tables, item by item as they are, and what a repair writes: past all that keeps order.

The access patterns of the service itself are in `orders_table` and `products_table`, whose conditions keep what is here
from being needed.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from order_payments.domain.errors import Busy
from order_payments.domain.orders import Order, OrderStatus
from order_payments.runtime import retry_budgets
from order_payments.runtime.clock import Deadline, from_rfc3339, rfc3339, utc_now
from order_payments.storage.dynamodb import (
    ConditionFailed,
    Item,
    batch_get,
    from_wire,
    to_wire,
    translate_read_errors,
    translate_write_errors,
)
from order_payments.storage.order_records import order_from_item
from order_payments.storage.orders_table import UNSETTLED_SHARDS, may_become, shard_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_BATCH = 100
_SCANNED_PAGE = 1000
SOON = timedelta(hours=1)
"""How far ahead of our clock another's may be."""


class TablePage(NamedTuple):
    """Items of a table, in an order of DynamoDB's own; `last` is the key behind which the next page begins."""

    items: list[Item]
    last: str | None


class Held(NamedTuple):
    """How many units of a product payments in flight hold, and a digest of which payments those are."""

    units: int = 0
    digest: str = ""


class UnreadableOrder(Exception):
    """An item of the orders table that is no order of ours, and may hold anything."""

    def __init__(self, order_id: str) -> None:
        super().__init__(f"{order_id} cannot be read")


class AuditedTables:
    """Both tables, as they are."""

    def __init__(self, client: "DynamoDBClient", orders_table: str, products_table: str) -> None:
        self._client = client
        self._orders = orders_table
        self._products = products_table

    def orders_page(self, *, limit: int, after: str | None) -> TablePage:
        """Items of the orders table, which may be a moment old."""
        return self._page(self._orders, "orderId", limit, after, consistent=False)

    def products_page(self, *, limit: int, after: str | None) -> TablePage:
        """Items of the products table, as they are now."""
        return self._page(self._products, "productId", limit, after, consistent=True)

    def _page(self, table: str, key: str, limit: int, after: str | None, *, consistent: bool) -> TablePage:
        start: dict[str, Any] = {"ExclusiveStartKey": to_wire({key: after})} if after is not None else {}
        with translate_read_errors():
            answer = self._client.scan(TableName=table, ConsistentRead=consistent, Limit=limit, **start)
        last = from_wire(answer["LastEvaluatedKey"])[key] if "LastEvaluatedKey" in answer else None
        return TablePage(list(map(from_wire, answer["Items"])), last)

    def order_item(self, order_id: str) -> Item | None:
        """The item of an order as it is now."""
        return self._item(self._orders, {"orderId": order_id})

    def product_item(self, product_id: str) -> Item | None:
        """The item of a product as it is now."""
        return self._item(self._products, {"productId": product_id})

    def _item(self, table: str, key: Mapping[str, str]) -> Item | None:
        with translate_read_errors():
            item = self._client.get_item(TableName=table, Key=to_wire(key), ConsistentRead=True).get("Item")
        return from_wire(item) if item else None

    def order_items(self, order_ids: Iterable[str]) -> dict[str, Item]:
        """The items of those orders that exist, as they are now."""
        ids = sorted(set(order_ids))
        found: dict[str, Item] = {}
        for start in range(0, len(ids), _BATCH):
            keys = [to_wire({"orderId": order_id}) for order_id in ids[start : start + _BATCH]]
            items = batch_get(
                self._client, self._orders, keys, deadline=Deadline.after(retry_budgets.AUDIT_READ_BUDGET_SECONDS)
            )
            found |= {item["orderId"]: item for item in items}
        return found

    def held(self) -> dict[str, Held]:
        """What payments in flight hold, by product: those that the index `unsettled` finds, as they are now."""
        return held_by(filter(None, map(readable, self.order_items(self._unsettled()).values())))

    def held_by_any_order(self, *, deadline: Deadline) -> dict[str, Held]:
        """What payments in flight hold, by product, of all orders that there are, wherever they are listed or not.

        Reads the whole table, strongly consistent. Raises `UnreadableOrder` where nobody can tell what an order holds,
        and `Busy` where that takes longer than there is time.
        """
        return held_by(self._in_flight(deadline))

    def _in_flight(self, deadline: Deadline) -> Iterator[Order]:
        after: str | None = None
        while True:
            if deadline.remaining() <= 0:
                raise Busy("There are more orders than there was time to read.")
            page = self._page(self._orders, "orderId", _SCANNED_PAGE, after, consistent=True)
            for item in page.items:
                order = readable(item)
                if order is None:
                    raise UnreadableOrder(str(item.get("orderId")))
                if order.in_flight:
                    yield order
            after = page.last
            if after is None:
                return

    def _unsettled(self) -> list[str]:
        ids: list[str] = []
        for shard in UNSETTLED_SHARDS:
            pages = self._client.get_paginator("query").paginate(
                TableName=self._orders,
                IndexName="unsettled",
                KeyConditionExpression="unsettledShard = :shard",
                ExpressionAttributeValues=to_wire({":shard": shard}),
            )
            with translate_read_errors():
                ids += [from_wire(item)["orderId"] for page in pages for item in page["Items"]]
        return ids

    def set_available(self, product_id: str, *, stock: int, available: int, to: int) -> bool:
        """Set what can be sold of a product, if it is still as it was seen. Returns whether that was so.

        A product without `available` is seen as wholly available.
        """
        wholly = " OR attribute_not_exists(available)" if available == stock else ""
        return self._write(
            self._products,
            {"productId": product_id},
            "SET available = :to",
            f"#stock = :stock AND (available = :available{wholly})",
            {":to": to, ":stock": stock, ":available": available},
            {"#stock": "stock"},
        )

    def list_as_unsettled(self, order_id: str) -> bool:
        """Let the reconciler find an order that has an attempt in flight, or owes a refund, wherever it was listed."""
        is_open = may_become(OrderStatus.CONFIRMED)
        return self._write(
            self._orders,
            {"orderId": order_id},
            "SET unsettledShard = :shard, unsettledSince = :now",
            f"({is_open.text} AND attribute_exists(#payment.attemptId))"
            " OR (attribute_exists(refund) AND attribute_not_exists(refund.refundId))",
            {":shard": shard_of(order_id), ":now": rfc3339(utc_now()), **is_open.values},
            {"#status": "status", "#payment": "payment"},
        )

    def _write(
        self,
        table: str,
        key: Mapping[str, str],
        update: str,
        condition: str,
        values: Mapping[str, Any],
        names: Mapping[str, str],
    ) -> bool:
        try:
            with translate_write_errors():
                self._client.update_item(
                    TableName=table,
                    Key=to_wire(key),
                    UpdateExpression=update,
                    ConditionExpression=condition,
                    ExpressionAttributeValues=to_wire(values),
                    ExpressionAttributeNames=names,
                )
        except ConditionFailed:
            return False
        return True


def held_by(orders: Iterable[Order]) -> dict[str, Held]:
    """What those of the orders hold that have a payment in flight, by product."""
    units: dict[str, int] = {}
    attempts: dict[str, list[str]] = {}
    for order in orders:
        attempt = order.in_flight
        if attempt is None:
            continue
        for product_id, quantity in order.quantities().items():
            units[product_id] = units.get(product_id, 0) + quantity
            attempts.setdefault(product_id, []).append(attempt.attempt_id)
    return {
        product_id: Held(units[product_id], hashlib.sha256("".join(sorted(ids)).encode()).hexdigest()[:16])
        for product_id, ids in attempts.items()
    }


def is_listed(item: Item) -> bool:
    """Whether the reconciler finds the order of this item: in its shard, under a time that has come or soon will."""
    if item.get("unsettledShard") != shard_of(str(item.get("orderId"))):
        return False
    try:
        return from_rfc3339(str(item["unsettledSince"])) < utc_now() + SOON
    except (KeyError, ValueError):
        return False


def readable(item: Item | None) -> Order | None:
    """The order that the item stores; None where it stores none."""
    try:
        return order_from_item(item) if item is not None else None
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError):
        return None
