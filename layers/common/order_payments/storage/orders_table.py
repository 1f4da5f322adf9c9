"""The orders table: every access pattern on orders, one method each.

All writes are conditional, so that the database decides every race; a refusal carries the order as it is, and the
methods that move an order return it as it is then recorded, whoever moved it.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import accumulate, zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from order_payments.domain.errors import Busy, OrderNotFound
from order_payments.domain.orders import (
    LateRefund,
    Order,
    OrderStatus,
    Override,
    PaymentAttempt,
    Reason,
    Shortage,
    is_order_id,
    statuses_before,
)
from order_payments.runtime import retry_budgets
from order_payments.runtime.clock import Deadline, from_rfc3339, rfc3339
from order_payments.runtime.metric_names import Count
from order_payments.runtime.observability import count, logger
from order_payments.runtime.retry_budgets import retry_until
from order_payments.storage.dynamodb import (
    ConditionFailed,
    Item,
    TransactionConflict,
    TransactionRefused,
    WriteOutcomeUnknown,
    WriteRejected,
    batch_get,
    from_wire,
    to_wire,
    translate_read_errors,
    translate_write_errors,
    write_transaction,
)
from order_payments.storage.order_records import (
    attempt_to_item,
    order_from_item,
    order_to_item,
    override_to_item,
    reason_to_item,
    refund_to_item,
)
from order_payments.storage.paging import Page
from order_payments.storage.products_table import ProductsTable, stock_in

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

UNSETTLED_SHARDS = tuple(f"unsettled-{number}" for number in range(8))
"""Partition keys of the `unsettled` index; each takes 1,000 writes a second, and a payment makes two."""

MAXIMUM_PAGE_BYTES = 5_000_000
"""Lambda takes 6 MB, the JSON around our JSON included."""
_CHARACTER_BYTES = 12  # an emoji, escaped
_OTHER_BYTES = 250  # of an order or a line, besides names

_NAMES = {"#status": "status", "#payment": "payment", "#override": "override"}
_UNSETTLED_ATTRIBUTES = "unsettledShard, unsettledSince, firstUnsettledSince"
"""The attributes to remove from an order that has nothing left to settle."""
_COUNT_REFUSAL = "refusedAttempts = if_not_exists(refusedAttempts, :none) + :one"
_REFUSAL_VALUES = {":none": 0, ":one": 1}


class Condition(NamedTuple):
    """A condition on an order, with the values that it names."""

    text: str
    values: Mapping[str, Any] = {}


def may_become(status: OrderStatus) -> Condition:
    """Return the condition that an order may move to `status`.

    Every condition on an order's status comes from here, so that `TRANSITIONS` is the only table of them.
    """
    before = {f":before_{number}": before for number, before in enumerate(statuses_before(status))}
    return Condition(f"#status IN ({', '.join(before)})", before)


_UNCLAIMED = Condition("attribute_not_exists(#payment)")


def _is_settled() -> Condition:
    is_open = may_become(OrderStatus.CONFIRMED)
    return Condition(f"NOT ({is_open.text})", is_open.values)


def _is_in_flight(attempt: PaymentAttempt) -> Condition:
    return Condition("#payment.attemptId = :attempt_id", {":attempt_id": attempt.attempt_id})


@dataclass(frozen=True, slots=True)
class Unsettled:
    """An order with an attempt in flight, or a refund owed, as the `unsettled` index has found it.

    `since_text` is when it was left, as it is stored: whoever parses it must reckon with anything.
    """

    order_id: str
    since_text: str


class NotClaimable(Exception):
    """The order was claimed or settled before; `order` is what is recorded."""

    def __init__(self, order: Order) -> None:
        super().__init__(f"order {order.order_id} is not to be claimed")
        self.order = order


class StockTooShort(Exception):
    """The shelf does not have the quantity that the order wants of some products, so it was not claimed."""

    def __init__(self, shortages: Iterable[Shortage]) -> None:
        super().__init__("the stock is too short")
        self.shortages = tuple(shortages)


class OrdersTable:
    """Orders by `orderId`. A write that also moves stock takes its part for each product from `products`."""

    def __init__(self, client: "DynamoDBClient", table_name: str, products: ProductsTable) -> None:
        self._client = client
        self._table_name = table_name
        self._products = products

    def create(self, order: Order) -> Order:
        """Write a new order. Returns the one that is recorded: another where its id was taken.

        An id is taken where the same request comes again, by the client's or by botocore's doing.
        """
        try:
            with translate_write_errors():
                self._client.put_item(
                    TableName=self._table_name,
                    Item=to_wire(order_to_item(order)),
                    ConditionExpression="attribute_not_exists(orderId)",
                )
        except ConditionFailed:
            return self.get(order.order_id)
        except (TransactionConflict, WriteOutcomeUnknown):
            raise Busy("The database does not answer.") from None
        return order

    def get(self, order_id: str) -> Order:
        """The order as it is now, strongly consistent. Raises `OrderNotFound`."""
        if not is_order_id(order_id):
            raise OrderNotFound("There is no such order.")
        with translate_read_errors():
            item = self._client.get_item(TableName=self._table_name, Key=_key(order_id), ConsistentRead=True).get(
                "Item"
            )
        return _existing(from_wire(item) if item else None)

    def page_of_buyer(self, buyer_id: str, *, limit: int, after: tuple[str, ...] | None) -> Page[Order]:
        """Return up to `limit` of a buyer's orders as they are now, the newest first, from behind `after`.

        A page has fewer orders if they would not fit into one response, or if the index names orders that are gone.
        Only the last page has no `last`. The index follows the table with a delay: an order that was placed a moment
        ago may be missing.
        """
        start: dict[str, Any] = {}
        if after:
            created_at, order_id = after
            start = {"ExclusiveStartKey": to_wire({"buyerId": buyer_id, "createdAt": created_at, "orderId": order_id})}
        deadline = Deadline.after(retry_budgets.ORDER_PAGE_BUDGET_SECONDS)
        while True:
            with translate_read_errors():
                answer = self._client.query(
                    TableName=self._table_name,
                    IndexName="by-buyer",
                    KeyConditionExpression="buyerId = :buyer_id",
                    ExpressionAttributeValues=to_wire({":buyer_id": buyer_id}),
                    ScanIndexForward=False,
                    Limit=limit + 1,
                    **start,
                )
            found = answer["Items"]
            keys = [from_wire(item) for item in found[:limit]]
            if not keys:
                return Page([], last=None)
            items = batch_get(self._client, self._table_name, [_key(key["orderId"]) for key in keys], deadline=deadline)
            by_id = {item["orderId"]: order_from_item(item) for item in items}
            existing = [by_id[key["orderId"]] for key in keys if key["orderId"] in by_id]
            shown = _fit_to_page(existing)
            if len(shown) < len(existing):
                return Page(shown, (rfc3339(shown[-1].created_at), shown[-1].order_id))
            if len(found) <= limit and "LastEvaluatedKey" not in answer:
                return Page(shown, last=None)
            if shown or deadline.remaining() < 0:
                return Page(shown, (keys[-1]["createdAt"], keys[-1]["orderId"]))
            # The table has none of these orders: without another read the client would see an empty page.
            start = {"ExclusiveStartKey": found[:limit][-1]}

    def claim(self, order: Order, attempt: PaymentAttempt, *, deadline: Deadline) -> Order:
        """Make `attempt` the order's one attempt and hold its stock, in one transaction.

        The condition on the order stops a second payer, and one who comes after an override; that on each product
        stops the sale of what is not there. Where both fail, the order's says more: nothing is to be sold any more.

        Raises
        ------
        NotClaimable, OrderNotFound
            Another payer or an admin was first.
        StockTooShort
            Nothing was written: see `cancel_unclaimed`.
        Busy
            Other payments hold the units, contention outlasted `deadline`, or the database does not answer.
        """
        claimed = replace(order, attempt=attempt, updated_at=attempt.started_at)
        # Of payers who read the order at the same time, none may pass the limit of refused attempts.
        no_more_refusals = Condition(
            "(attribute_not_exists(refusedAttempts) OR refusedAttempts <= :refused_attempts)",
            {":refused_attempts": order.refused_attempts},
        )
        write = self._update(
            order.order_id,
            "SET #payment = :payment, unsettledShard = :shard, unsettledSince = :now, updatedAt = :now",
            [_UNCLAIMED, may_become(OrderStatus.CONFIRMED), no_more_refusals],
            {
                ":payment": attempt_to_item(attempt),
                ":shard": shard_of(order.order_id),
                ":now": rfc3339(attempt.started_at),
            },
        )
        return self._move_payable(order, claimed, [write, *self._stock_moves(order, self._products.hold)], deadline)

    def settle_confirmed(self, order: Order, *, now: datetime, deadline: Deadline) -> Order:
        """Confirm the order and make its holds reductions of the stock, in one transaction.

        Units whose hold is gone are sold from what is available, if there are as many.
        """
        return self._settle(
            order,
            replace(order, status=OrderStatus.CONFIRMED, updated_at=now),
            self._stock_moves(order, self._products.take),
            without_holds=self._stock_moves(order, self._products.sell),
            deadline=deadline,
        )

    def settle_cancelled(self, order: Order, reason: Reason, *, now: datetime, deadline: Deadline) -> Order:
        """Cancel the order for `reason` and release its holds, in one transaction."""
        return self._settle(
            order,
            replace(order, status=OrderStatus.CANCELLED, reason=reason, updated_at=now),
            self._stock_moves(order, self._products.release),
            deadline=deadline,
        )

    def _settle(
        self,
        order: Order,
        settled: Order,
        stock_moves: "Sequence[TransactWriteItemTypeDef]",
        *,
        without_holds: "Sequence[TransactWriteItemTypeDef]" = (),
        deadline: Deadline,
    ) -> Order:
        """Write `settled` on the condition that its attempt is still in flight.

        The condition stops a second settlement from moving the stock again. Returns the order as it is recorded: as
        somebody else settled it meanwhile, or still in flight where contention did not let us in.
        """
        update = f"SET #status = :status, updatedAt = :now REMOVE {_UNSETTLED_ATTRIBUTES}"
        values: dict[str, Any] = {":status": settled.status, ":now": rfc3339(settled.updated_at)}
        if settled.reason:
            update = update.replace(" REMOVE", ", reason = :reason REMOVE")
            values[":reason"] = reason_to_item(settled.reason)
        conditions = [_is_in_flight(order.require_in_flight()), may_become(settled.status)]
        write = self._update(order.order_id, update, conditions, values)
        return self._move_in_flight(
            order, settled, [write, *stock_moves], without_holds=without_holds, deadline=deadline
        )

    def void(self, order: Order, *, was_refused: bool, now: datetime, deadline: Deadline) -> Order:
        """Remove the attempt and release its holds, in one transaction. The order can be paid again.

        Only for an attempt that certainly charged nothing. One that `was_refused` counts in `refused_attempts`.
        """
        refusal = f", {_COUNT_REFUSAL}" if was_refused else ""
        write = self._update(
            order.order_id,
            f"SET updatedAt = :now{refusal} REMOVE #payment, {_UNSETTLED_ATTRIBUTES}",
            [_is_in_flight(order.require_in_flight()), may_become(OrderStatus.CONFIRMED)],
            {":now": rfc3339(now), **(_REFUSAL_VALUES if was_refused else {})},
        )
        releases = self._stock_moves(order, self._products.release)
        voided = replace(order, attempt=None, refused_attempts=order.refused_attempts + was_refused, updated_at=now)
        return self._move_in_flight(order, voided, [write, *releases], deadline=deadline)

    def count_refused_attempt(self, order: Order, *, now: datetime, deadline: Deadline) -> Order:
        """Count an attempt that Stripe refused before the order was claimed. Returns the order as it is recorded."""
        write = self._update(
            order.order_id,
            f"SET {_COUNT_REFUSAL}, updatedAt = :now",
            [_UNCLAIMED, may_become(OrderStatus.CONFIRMED)],
            {":now": rfc3339(now), **_REFUSAL_VALUES},
        )
        counted = replace(order, refused_attempts=order.refused_attempts + 1, updated_at=now)
        return self._write_alone(write, counted, deadline)

    def cancel_unclaimed(
        self, order: Order, reason: Reason, *, attempt: PaymentAttempt | None, now: datetime, deadline: Deadline
    ) -> Order:
        """Cancel an order that cannot be claimed, and record the `attempt` that was to pay it, if there is one.

        The condition stops it if another payer claimed the order, or an admin settled it, in between. Returns the
        order as it is then recorded.
        """
        cancelled = replace(order, status=OrderStatus.CANCELLED, reason=reason, attempt=attempt, updated_at=now)
        write = self._update(
            order.order_id,
            f"SET #status = :status,{' #payment = :payment,' if attempt else ''} reason = :reason, updatedAt = :now",
            [_UNCLAIMED, may_become(cancelled.status)],
            {
                ":status": cancelled.status,
                ":reason": reason_to_item(reason),
                ":now": rfc3339(now),
                **({":payment": attempt_to_item(attempt)} if attempt else {}),
            },
        )
        return self._write_alone(write, cancelled, deadline)

    def settle_by_hand(
        self, order: Order, status: OrderStatus, reason: Reason, override: Override, *, deadline: Deadline
    ) -> Order:
        """Settle an order that nobody tries to pay, as an admin says; confirming it takes the stock with it.

        The condition stops it where a payer claimed the order in between, who may be charged. Raises as `claim` does.
        """
        settled = replace(order, status=status, reason=reason, override=override, updated_at=override.at)
        write = self._update(
            order.order_id,
            "SET #status = :status, reason = :reason, #override = :override, updatedAt = :now",
            [_UNCLAIMED, may_become(status)],
            {
                ":status": status,
                ":reason": reason_to_item(reason),
                ":override": override_to_item(override),
                ":now": rfc3339(override.at),
            },
        )
        sales = self._stock_moves(order, self._products.sell) if status is OrderStatus.CONFIRMED else []
        return self._move_payable(order, settled, [write, *sales], deadline)

    def owe_refund(self, order: Order, refund: LateRefund, *, deadline: Deadline) -> Order:
        """Record that money for a settled order has to go back, before it goes: the reconciler will find it.

        The condition keeps a second one from owing it again. Returns the order as it is then recorded.
        """
        write = self._update(
            order.order_id,
            "SET refund = :refund, unsettledShard = :shard, unsettledSince = :now",
            [_is_settled(), Condition("attribute_not_exists(refund)")],
            {
                ":refund": refund_to_item(refund),
                ":shard": shard_of(order.order_id),
                ":now": rfc3339(refund.owed_since),
            },
        )
        return self._write_alone(write, replace(order, refund=refund), deadline)

    def record_refund(self, order: Order, refund: LateRefund, *, deadline: Deadline) -> Order:
        """Record that the money went back. Returns the order as it is then recorded."""
        is_owed = Condition(
            "refund.paymentIntentId = :intent AND attribute_not_exists(refund.refundId)",
            {":intent": refund.payment_intent_id},
        )
        update = f"SET refund = :refund REMOVE {_UNSETTLED_ATTRIBUTES}"
        write = self._update(order.order_id, update, [is_owed], {":refund": refund_to_item(refund)})
        return self._write_alone(write, replace(order, refund=refund), deadline)

    def unsettled(self, shard: str, *, before: datetime, limit: int) -> list[Unsettled]:
        """Up to `limit` of a shard's orders that are unsettled since `before` or longer, the oldest first.

        The index follows the table with a delay, so that what it finds has to be read before anything is done.
        """
        return self._unsettled(shard, "<=", before, limit)

    def unsettled_ahead(self, shard: str, *, after: datetime, limit: int) -> list[Unsettled]:
        """Return up to `limit` of a shard's entries that sort behind the time `after`.

        Such an entry has a time in the future, or a text that is no time. `unsettled` would not find it for years.
        """
        return self._unsettled(shard, ">", after, limit)

    def _unsettled(self, shard: str, comparison: str, moment: datetime, limit: int) -> list[Unsettled]:
        with translate_read_errors():
            found = self._client.query(
                TableName=self._table_name,
                IndexName="unsettled",
                KeyConditionExpression=f"unsettledShard = :shard AND unsettledSince {comparison} :moment",
                ExpressionAttributeValues=to_wire({":shard": shard, ":moment": rfc3339(moment)}),
                Limit=limit,
            )["Items"]
        return [Unsettled(item["orderId"], item["unsettledSince"]) for item in map(from_wire, found)]

    def remove_stale_entry(self, order_id: str) -> bool:
        """Remove an order from the `unsettled` index if it has nothing to settle. Returns whether it was removed.

        The condition keeps the entry of an order that was claimed, or that came to owe a refund, in the meantime.
        Raises `TransactionConflict`, `WriteOutcomeUnknown` or `WriteRejected`.
        """
        is_settled = _is_settled()
        nothing_to_settle = Condition(
            f"attribute_exists(unsettledShard) AND ({is_settled.text} OR {_UNCLAIMED.text})"
            " AND (attribute_not_exists(refund) OR attribute_exists(refund.refundId))",
            is_settled.values,
        )
        write = self._update(order_id, f"REMOVE {_UNSETTLED_ATTRIBUTES}", [nothing_to_settle], {})
        try:
            with translate_write_errors():
                self._client.update_item(**write["Update"])
        except ConditionFailed:
            return False
        return True

    def postpone(self, order_id: str, *, to: datetime) -> datetime | None:
        """Put an order that could not be settled behind those unsettled since `to`, so that it does not block them.

        Returns since when it was in sight of the reconciler before anybody did that; None where it is not any more, or
        nobody can tell.
        """
        write = self._update(
            order_id,
            "SET unsettledSince = :since, firstUnsettledSince = if_not_exists(firstUnsettledSince, unsettledSince)",
            [Condition("attribute_exists(unsettledShard)")],
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

    def _move_payable(
        self, order: Order, moved: Order, writes: "Sequence[TransactWriteItemTypeDef]", deadline: Deadline
    ) -> Order:
        """Write what turns an order that nobody has claimed or settled into `moved`. Raises as `claim` does."""
        try:
            write_transaction(self._client, writes, deadline=deadline)
        except TransactionRefused as refused:
            if 0 in refused.old_items:
                raise NotClaimable(_existing(refused.old_items[0])) from refused
            shortages = _shortages(order, refused.old_items)
            if not shortages:
                raise Busy("Other payments hold the last units at the moment.", order=order) from refused
            raise StockTooShort(shortages) from refused
        except WriteOutcomeUnknown:
            recorded = self.get(order.order_id)
            if recorded.is_payable:
                raise Busy("The database does not answer.") from None
            if (recorded.attempt, recorded.override) != (moved.attempt, moved.override):
                raise NotClaimable(recorded) from None
            return recorded
        return moved

    def _write_alone(self, write: "TransactWriteItemTypeDef", moved: Order, deadline: Deadline) -> Order:
        """Write what turns an order into `moved`, or return it as it is recorded. Raises `Busy`."""
        for _ in retry_until(deadline):
            try:
                with translate_write_errors():
                    self._client.update_item(**write["Update"])
            except TransactionConflict:
                continue
            except ConditionFailed as refused:
                return order_from_item(refused.old_item) if refused.old_item else self.get(moved.order_id)
            except WriteOutcomeUnknown:
                return self.get(moved.order_id)
            return moved
        raise Busy("Too many others write the same order.")

    def _stock_moves(
        self, order: Order, move: "Callable[[str, int], TransactWriteItemTypeDef]"
    ) -> "list[TransactWriteItemTypeDef]":
        return [move(product_id, quantity) for product_id, quantity in order.quantities().items()]

    def _move_in_flight(
        self,
        order: Order,
        moved: Order,
        writes: "Sequence[TransactWriteItemTypeDef]",
        *,
        without_holds: "Sequence[TransactWriteItemTypeDef]" = (),
        deadline: Deadline,
    ) -> Order:
        """Write what turns `order` into `moved`, or return it as it is recorded: moved by another, or in flight.

        Holds do not outlast an edit of the products table by another service. A product whose hold is gone is reported
        and gets its write of `without_holds`, or stays as it is, so that the order still ends.
        """
        alternatives = list(zip_longest(writes, [None, *without_holds]))
        reported: set[str] = set()
        while True:
            writes = [write for write, _ in alternatives if write is not None]
            try:
                write_transaction(self._client, writes, deadline=deadline)
            except TransactionRefused as refused:
                if 0 in refused.old_items:
                    return _existing(refused.old_items[0])
                lost = {from_wire(dict(writes[at]["Update"]["Key"]))["productId"] for at in refused.old_items}
                if lost - reported:
                    logger.error("stock mismatch: holds missing", orderId=order.order_id, productIds=sorted(lost))
                    count(Count.MISMATCH)
                reported |= lost
                alternatives = [
                    (alternative, None) if at in refused.old_items else (write, alternative)
                    for at, (write, alternative) in enumerate(alternatives)
                ]
                alternatives = [each for each in alternatives if each[0] is not None]
                continue
            except WriteOutcomeUnknown:
                with suppress(Busy):
                    return self.get(order.order_id)
            except Busy:
                logger.warning("settlement deferred: contention")
            except WriteRejected as rejected:
                logger.error("settlement rejected by dynamodb", error=str(rejected))
            else:
                return moved
            return order

    def _update(
        self, order_id: str, update: str, conditions: Sequence[Condition], values: Mapping[str, Any]
    ) -> "TransactWriteItemTypeDef":
        condition = " AND ".join(each.text for each in conditions)
        for each in conditions:
            values = {**values, **each.values}
        write: TransactWriteItemTypeDef = {
            "Update": {
                "TableName": self._table_name,
                "Key": _key(order_id),
                "UpdateExpression": update,
                "ConditionExpression": condition,
                "ExpressionAttributeValues": to_wire(values),
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }
        # DynamoDB refuses names that are not used, and an empty map of them.
        if names := {name: attribute for name, attribute in _NAMES.items() if name in update + condition}:
            write["Update"]["ExpressionAttributeNames"] = names
        return write


def _fit_to_page(orders: list[Order]) -> list[Order]:
    """Return as many of the orders as fit into a response, at least one of those given."""
    sizes = accumulate(
        _OTHER_BYTES + sum(_OTHER_BYTES + _CHARACTER_BYTES * len(line.name) for line in order.lines) for order in orders
    )
    return orders[: max(1, sum(size <= MAXIMUM_PAGE_BYTES for size in sizes))]


def _existing(item: Item | None) -> Order:
    if item is None:
        raise OrderNotFound("There is no such order.")
    return order_from_item(item)


def _key(order_id: str) -> dict[str, Any]:
    return to_wire({"orderId": order_id})


def shard_of(order_id: str) -> str:
    """Where an order is in the `unsettled` index while it is there."""
    return UNSETTLED_SHARDS[zlib.crc32(order_id.encode()) % len(UNSETTLED_SHARDS)]


def _shortages(order: Order, old_items: Mapping[int, Item | None]) -> list[Shortage]:
    """Return the products of which the shelf has too little, from the refused writes of a transaction.

    Position 0 is the order; the products follow. Units that other payments hold may come back, so they are no shortage.
    Nor is a product whose `available` exceeds its `stock`: it is not for sale until it is repaired, but its units are
    there. A product whose stock is not readable has none.
    """
    wanted = list(order.quantities().items())
    shortages = []
    for position, item in sorted(old_items.items()):
        product_id, quantity = wanted[position - 1]
        stock, available = (stock_in(item) if item else None) or (0, 0)
        if stock < quantity:
            shortages.append(Shortage(product_id, quantity, max(0, min(available, stock))))
        elif not 0 <= available <= stock:
            logger.error("stock mismatch: available out of range", orderId=order.order_id, productIds=[product_id])
            count(Count.MISMATCH)
    return shortages
