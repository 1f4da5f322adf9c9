"""Pages of orders, newest first: keys from an index, and the orders from the table."""

from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from order_payments.domain.orders import Order, OrderStatus
from order_payments.runtime import retry_budgets
from order_payments.runtime.clock import Deadline, rfc3339
from order_payments.storage.dynamodb import Item, batch_get, from_wire, to_wire, translate_read_errors
from order_payments.storage.order_indexes import PLACED_SHARDS, PlacedKey
from order_payments.storage.order_records import order_from_item
from order_payments.storage.order_writes import order_key
from order_payments.storage.paging import Page

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAXIMUM_PAGE_BYTES = 5_000_000
"""Lambda's limit is 6 MB for the whole response, which contains the body as escaped JSON."""
_CHARACTER_BYTES = 12  # at most, for an escaped emoji
_OTHER_BYTES = 250  # at most, for an order or a line without its name

_LATEST = "9999-12-31T23:59:59.999Z"
_AFTER_EVERY_ID = "~"


class OrderFilter(NamedTuple):
    """Orders of a listing. Each field that is not None must match. Both ends of the period belong to it."""

    buyer_id: str | None = None
    status: OrderStatus | None = None
    placed_from: datetime | None = None
    placed_to: datetime | None = None


class OrderPages:
    """Pages of a buyer's orders or of all orders.

    The indexes are eventually consistent, so an order that was just placed may be missing. Each order of a page is read
    strongly consistent.
    """

    def __init__(self, client: "DynamoDBClient", table_name: str) -> None:
        self._client = client
        self._table_name = table_name

    def page(self, wanted: OrderFilter, *, limit: int, after: tuple[str, ...] | None) -> Page[Order]:
        """Return up to `limit` current orders, newest first, after the key `after`.

        The page reads the next `limit` orders. It has fewer of them, or none, if others have another status, if more do
        not fit into one response, or if the index names deleted orders. Only the last page has no `last`.
        """
        position = PlacedKey(*after) if after else None
        deadline = Deadline.after(retry_budgets.ORDER_PAGE_BUDGET_SECONDS)
        while True:
            found = self._keys(wanted, position, limit + 1)
            keys = found[:limit]
            existing = self._read(keys, deadline)
            matching = [order for order in existing if wanted.status in (None, order.status)]
            shown = _fit_to_page(matching)
            if len(shown) < len(matching):
                return Page(shown, (rfc3339(shown[-1].created_at), shown[-1].order_id))
            if len(found) <= limit:
                return Page(shown, last=None)
            if existing or deadline.remaining() < 0:
                return Page(shown, last=keys[-1])
            # The table has none of these orders. Read on, because the client would get an empty page.
            position = keys[-1]

    def _keys(self, wanted: OrderFilter, after: PlacedKey | None, limit: int) -> list[PlacedKey]:
        """Return the newest `limit` keys in the period that follow `after`. There are fewer only at the end."""
        latest = rfc3339(wanted.placed_to) if wanted.placed_to else _LATEST
        if wanted.buyer_id is not None:
            keys = self._keys_of_buyer(wanted.buyer_id, latest, after, limit)
        else:
            keys = self._keys_of_all(after or PlacedKey(latest, _AFTER_EVERY_ID), limit)
        earliest = rfc3339(wanted.placed_from) if wanted.placed_from else ""
        return [key for key in keys if key.created_at >= earliest]

    def _keys_of_buyer(self, buyer_id: str, latest: str, after: PlacedKey | None, limit: int) -> list[PlacedKey]:
        items = self._query(
            "by-buyer",
            "buyerId = :buyer AND createdAt <= :latest",
            {":buyer": buyer_id, ":latest": after.created_at if after else latest},
            limit,
            {"buyerId": buyer_id, "createdAt": after.created_at, "orderId": after.order_id} if after else None,
        )
        return [PlacedKey(item["createdAt"], item["orderId"]) for item in items]

    def _keys_of_all(self, before: PlacedKey, limit: int) -> list[PlacedKey]:
        # Any shard may have all of the newest orders.
        items = [
            item
            for shard in PLACED_SHARDS
            for item in self._query(
                "by-placed",
                "placedShard = :shard AND placedKey < :before",
                {":shard": shard, ":before": str(before)},
                limit,
            )
        ]
        return sorted((PlacedKey.parse(item["placedKey"]) for item in items), reverse=True)[:limit]

    def _query(
        self, index: str, condition: str, values: dict[str, str], limit: int, start: dict[str, Any] | None = None
    ) -> list[Item]:
        """Return the first `limit` items of a descending query after `start`. There are fewer only at the end."""
        found: list[Item] = []
        request: dict[str, Any] = {"ExclusiveStartKey": to_wire(start)} if start else {}
        while True:
            with translate_read_errors():
                response = self._client.query(
                    TableName=self._table_name,
                    IndexName=index,
                    KeyConditionExpression=condition,
                    ExpressionAttributeValues=to_wire(values),
                    ScanIndexForward=False,
                    Limit=limit - len(found),
                    **request,
                )
            found += map(from_wire, response["Items"])
            if len(found) == limit or "LastEvaluatedKey" not in response:
                return found
            request = {"ExclusiveStartKey": response["LastEvaluatedKey"]}

    def _read(self, keys: Sequence[PlacedKey], deadline: Deadline) -> list[Order]:
        """Return the orders that exist, in the sequence of the keys."""
        if not keys:
            return []
        table_keys = [order_key(key.order_id) for key in keys]
        items = batch_get(self._client, self._table_name, table_keys, deadline=deadline)
        by_id = {item["orderId"]: order_from_item(item) for item in items}
        return [by_id[key.order_id] for key in keys if key.order_id in by_id]


def _fit_to_page(orders: list[Order]) -> list[Order]:
    """Return the first of the orders that fit into a response, at least one if there is any."""
    sizes = accumulate(
        _OTHER_BYTES + sum(_OTHER_BYTES + _CHARACTER_BYTES * len(line.name) for line in order.lines) for order in orders
    )
    return orders[: max(1, sum(size <= MAXIMUM_PAGE_BYTES for size in sizes))]
