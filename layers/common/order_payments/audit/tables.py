"""Table access for the audit and the repair: raw items in, and writes that repair them.

The service itself uses `orders_table` and `products_table`, whose conditions prevent the mismatches that are repaired
here.
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
from order_payments.storage.order_writes import (
    Condition,
    may_become,
    refunds_are_unchanged,
    shard_of,
    shard_of_refunds,
    update_order,
)
from order_payments.storage.orders_table import PENDING_REFUND_INTERVAL

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_BATCH_GET_ITEMS = 100
_SCAN_PAGE_ITEMS = 1000
CLOCK_SKEW_TOLERANCE = timedelta(hours=1)
"""Difference allowed between this clock and the clock of another writer."""


class TablePage(NamedTuple):
    """Items of a table in DynamoDB's scan order. The next page begins after the key `last`; None on the last page."""

    items: list[Item]
    last: str | None


class Held(NamedTuple):
    """Units of a product that payments in flight hold, and a digest of these payments' ids."""

    units: int = 0
    digest: str = ""


class UnreadableOrder(Exception):
    """An item of the orders table that is not a valid order. The units that it holds are unknown."""

    def __init__(self, order_id: str) -> None:
        super().__init__(f"the item of {order_id} is not a valid order")


class AuditedTables:
    """The items of both tables, unvalidated."""

    def __init__(self, client: "DynamoDBClient", orders_table: str, products_table: str) -> None:
        self._client = client
        self._orders = orders_table
        self._products = products_table

    def scan_orders(self, *, limit: int, after: str | None) -> TablePage:
        """Return a page of the orders table, eventually consistent."""
        return self._scan(self._orders, "orderId", limit, after, consistent=False)

    def scan_products(self, *, limit: int, after: str | None) -> TablePage:
        """Return a page of the products table, strongly consistent."""
        return self._scan(self._products, "productId", limit, after, consistent=True)

    def _scan(self, table: str, key: str, limit: int, after: str | None, *, consistent: bool) -> TablePage:
        start: dict[str, Any] = {"ExclusiveStartKey": to_wire({key: after})} if after is not None else {}
        with translate_read_errors():
            response = self._client.scan(TableName=table, ConsistentRead=consistent, Limit=limit, **start)
        last = from_wire(response["LastEvaluatedKey"])[key] if "LastEvaluatedKey" in response else None
        return TablePage(list(map(from_wire, response["Items"])), last)

    def get_order_item(self, order_id: str) -> Item | None:
        """Return an order's item, strongly consistent; None if there is none."""
        return self._get_item(self._orders, {"orderId": order_id})

    def get_product_item(self, product_id: str) -> Item | None:
        """Return a product's item, strongly consistent; None if there is none."""
        return self._get_item(self._products, {"productId": product_id})

    def _get_item(self, table: str, key: Mapping[str, str]) -> Item | None:
        with translate_read_errors():
            item = self._client.get_item(TableName=table, Key=to_wire(key), ConsistentRead=True).get("Item")
        return from_wire(item) if item else None

    def get_order_items(self, order_ids: Iterable[str]) -> dict[str, Item]:
        """Return the items of those orders that exist, by order id, strongly consistent."""
        ids = sorted(set(order_ids))
        found: dict[str, Item] = {}
        for start in range(0, len(ids), _BATCH_GET_ITEMS):
            keys = [to_wire({"orderId": order_id}) for order_id in ids[start : start + _BATCH_GET_ITEMS]]
            items = batch_get(
                self._client, self._orders, keys, deadline=Deadline.after(retry_budgets.AUDIT_READ_BUDGET_SECONDS)
            )
            found |= {item["orderId"]: item for item in items}
        return found

    def count_listed_holds(self) -> dict[str, Held]:
        """Return the units held by payments in flight, by product, of the orders in the index `unsettled`.

        The index is eventually consistent; the orders are read strongly consistent.
        """
        return count_holds(filter(None, map(read_order, self.get_order_items(self._scan_unsettled_ids()).values())))

    def count_all_holds(self, *, deadline: Deadline) -> dict[str, Held]:
        """Return the units held by payments in flight, by product, of all orders.

        Scans the whole table, strongly consistent. Raises `UnreadableOrder` if it meets an invalid order, and `Busy` if
        `deadline` passes first.
        """
        return count_holds(self._scan_in_flight(deadline))

    def _scan_in_flight(self, deadline: Deadline) -> Iterator[Order]:
        after: str | None = None
        while True:
            if deadline.remaining() <= 0:
                raise Busy("There was too little time to read all orders.")
            page = self._scan(self._orders, "orderId", _SCAN_PAGE_ITEMS, after, consistent=True)
            for item in page.items:
                order = read_order(item)
                if order is None:
                    raise UnreadableOrder(str(item.get("orderId")))
                if order.in_flight:
                    yield order
            after = page.last
            if after is None:
                return

    def _scan_unsettled_ids(self) -> list[str]:
        """Return the ids in the index `unsettled`. One scan reads all shards; a query would read one of them."""
        pages = self._client.get_paginator("scan").paginate(TableName=self._orders, IndexName="unsettled")
        with translate_read_errors():
            return [from_wire(item)["orderId"] for page in pages for item in page["Items"]]

    def set_available(self, product_id: str, *, stock: int, available: int, to: int) -> bool:
        """Set a product's `available` to `to`. Return False if the product's numbers have changed.

        A product without `available` counts as available in full.
        """
        if_absent = " OR attribute_not_exists(available)" if available == stock else ""
        return self._write(
            self._products,
            {"productId": product_id},
            "SET available = :to",
            f"#stock = :stock AND (available = :available{if_absent})",
            {":to": to, ":stock": stock, ":available": available},
            {"#stock": "stock"},
        )

    def list_as_unsettled(self, order_id: str) -> bool:
        """Put an order into its shard of the index `unsettled`, so that the reconciler finds it.

        Return False if the order has no attempt in flight and no owed or pending refund.
        """
        order = read_order(self.get_order_item(order_id))
        if order is None:
            return False
        if order.unfinished_refunds:
            shard, conditions = shard_of_refunds(order), refunds_are_unchanged(order)
        else:
            is_attempted = Condition("attribute_exists(#payment.attemptId)")
            shard, conditions = shard_of(order_id), [may_become(OrderStatus.CONFIRMED), is_attempted]
        update = "SET unsettledShard = :shard, unsettledSince = :now"
        values = {":shard": shard, ":now": rfc3339(utc_now())}
        try:
            with translate_write_errors():
                write = update_order(self._orders, order_id, update, conditions, values)
                self._client.update_item(**write["Update"])
        except ConditionFailed:
            return False
        return True

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


def count_holds(orders: Iterable[Order]) -> dict[str, Held]:
    """Return the units that the orders with a payment in flight hold, by product."""
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
    """Return whether the reconciler finds this item's order: in the right shard, with a time that is not far ahead."""
    order = read_order(item)
    if order is None:
        return False
    shard = shard_of_refunds(order) if order.unfinished_refunds else shard_of(order.order_id)
    if item.get("unsettledShard") != shard:
        return False
    # A pending refund is listed for the next question to Stripe.
    latest = utc_now() + CLOCK_SKEW_TOLERANCE + (PENDING_REFUND_INTERVAL if order.unfinished_refunds else timedelta())
    try:
        return from_rfc3339(str(item["unsettledSince"])) < latest
    except (KeyError, ValueError):
        return False


def read_order(item: Item | None) -> Order | None:
    """Return the order that an item stores; None for no item or an invalid one."""
    try:
        return order_from_item(item) if item is not None else None
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError):
        return None
