"""The index `unsettled`: orders with an attempt in flight or an owed refund, for the reconciler."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from order_payments.domain.orders import Order
from order_payments.runtime.clock import from_rfc3339, rfc3339
from order_payments.storage.dynamodb import (
    ConditionFailed,
    TransactionConflict,
    WriteOutcomeUnknown,
    WriteRejected,
    from_wire,
    to_wire,
    translate_read_errors,
    translate_write_errors,
)
from order_payments.storage.order_writes import (
    UNCLAIMED,
    UNSETTLED_ATTRIBUTES,
    Condition,
    is_settled,
    refunds_are_unchanged,
    update_order,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True)
class Unsettled:
    """An entry of the index. `since_text` is the stored time, unparsed: another service may have written any text."""

    order_id: str
    since_text: str


class UnsettledIndex:
    """Entries by shard and time. Claims, settlements and refunds write them with their orders."""

    def __init__(self, client: "DynamoDBClient", table_name: str) -> None:
        self._client = client
        self._table_name = table_name

    def entries(self, shard: str, *, before: datetime, limit: int) -> list[Unsettled]:
        """Return up to `limit` entries of a shard that are unsettled since `before` or longer, oldest first.

        The index is eventually consistent, so read each order before acting on it.
        """
        return self._query(shard, "<=", before, limit)

    def entries_ahead(self, shard: str, *, after: datetime, limit: int) -> list[Unsettled]:
        """Return up to `limit` entries of a shard that sort after the time `after`.

        Such an entry has a time in the future, or an invalid one. `entries` would not find it for years.
        """
        return self._query(shard, ">", after, limit)

    def _query(self, shard: str, comparison: str, moment: datetime, limit: int) -> list[Unsettled]:
        with translate_read_errors():
            found = self._client.query(
                TableName=self._table_name,
                IndexName="unsettled",
                KeyConditionExpression=f"unsettledShard = :shard AND unsettledSince {comparison} :moment",
                ExpressionAttributeValues=to_wire({":shard": shard, ":moment": rfc3339(moment)}),
                Limit=limit,
            )["Items"]
        return [Unsettled(item["orderId"], item["unsettledSince"]) for item in map(from_wire, found)]

    def remove_stale(self, order: Order) -> bool:
        """Remove an order that has nothing to settle from the index. Returns whether it was removed.

        The condition keeps the entry of an order that was claimed, or that owes a refund, since it was read.
        Raises `TransactionConflict`, `WriteOutcomeUnknown` or `WriteRejected`.
        """
        if order.unfinished_refunds:
            return False
        settled = is_settled()
        nothing_in_flight = Condition(
            f"attribute_exists(unsettledShard) AND ({settled.text} OR {UNCLAIMED.text})", settled.values
        )
        conditions = [nothing_in_flight, *refunds_are_unchanged(order)]
        write = update_order(self._table_name, order.order_id, f"REMOVE {UNSETTLED_ATTRIBUTES}", conditions, {})
        try:
            with translate_write_errors():
                self._client.update_item(**write["Update"])
        except ConditionFailed:
            return False
        return True

    def postpone(self, order_id: str, *, to: datetime, only_if: Sequence[Condition] = ()) -> datetime | None:
        """Move an order that could not be settled behind those unsettled since `to`, so that it does not block them.

        Returns the time at which it first became unsettled, or None if it is no longer listed or the time is unknown.
        """
        write = update_order(
            self._table_name,
            order_id,
            "SET unsettledSince = :since, firstUnsettledSince = if_not_exists(firstUnsettledSince, unsettledSince)",
            [Condition("attribute_exists(unsettledShard)"), *only_if],
            {":since": rfc3339(to)},
        )
        try:
            with translate_write_errors():
                written = self._client.update_item(**write["Update"], ReturnValues="UPDATED_NEW")
            return from_rfc3339(str(from_wire(written["Attributes"])["firstUnsettledSince"]))
        except (
            ConditionFailed,
            TransactionConflict,
            WriteOutcomeUnknown,
            WriteRejected,
            KeyError,
            TypeError,
            ValueError,
        ):
            return None
