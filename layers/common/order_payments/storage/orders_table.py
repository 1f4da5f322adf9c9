"""The orders table, with one method for each access pattern.

All writes are conditional, so the database decides every race. Methods that change an order return it as recorded,
also if another writer changed it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import starmap, zip_longest
from typing import TYPE_CHECKING, Any

from order_payments.domain.errors import Busy, OrderNotFound
from order_payments.domain.orders import (
    Order,
    OrderStatus,
    Override,
    PaymentAttempt,
    Reason,
    Shortage,
    is_order_id,
)
from order_payments.domain.refunds import Refund, with_refund
from order_payments.runtime.clock import Deadline, rfc3339
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
    refunds_to_item,
)
from order_payments.storage.order_writes import (
    UNCLAIMED,
    UNSETTLED_ATTRIBUTES,
    Condition,
    is_settled,
    may_become,
    order_key,
    refunds_are_unchanged,
    shard_of,
    shard_of_refunds,
    update_order,
)
from order_payments.storage.products_table import ProductsTable, stock_in
from order_payments.storage.unsettled_index import UnsettledIndex

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

PENDING_REFUND_INTERVAL = timedelta(hours=1)
"""Time between two questions to Stripe about a pending refund. A webhook event usually reports its end."""

_COUNT_REFUSAL = "refusedAttempts = if_not_exists(refusedAttempts, :none) + :one"
_REFUSAL_VALUES = {":none": 0, ":one": 1}


def _is_in_flight(attempt: PaymentAttempt) -> Condition:
    return Condition("#payment.attemptId = :attempt_id", {":attempt_id": attempt.attempt_id})


class NotClaimable(Exception):
    """The order is already claimed or settled. `order` is the recorded order."""

    def __init__(self, order: Order) -> None:
        super().__init__(f"order {order.order_id} cannot be claimed")
        self.order = order


class StockTooShort(Exception):
    """The stock does not cover the order, so it was not claimed. `shortages` names each short product."""

    def __init__(self, shortages: Iterable[Shortage]) -> None:
        super().__init__("the stock does not cover the order")
        self.shortages = tuple(shortages)


class RefundsChanged(Exception):
    """The order's refunds are not those that were read. `order` is the recorded order."""

    def __init__(self, order: Order) -> None:
        super().__init__(f"the refunds of order {order.order_id} have changed")
        self.order = order


class OrdersTable:
    """Orders by `orderId`. A transaction that also moves stock takes the writes of the products from `products`."""

    def __init__(self, client: "DynamoDBClient", table_name: str, products: ProductsTable) -> None:
        self._client = client
        self._table_name = table_name
        self._products = products
        self.unsettled = UnsettledIndex(client, table_name)

    def create(self, order: Order) -> Order:
        """Write a new order and return it, or return the recorded order if the id is taken.

        The id is taken if the client repeats the request, or if botocore retries the write.
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
            raise Busy("The database does not respond. Try again.") from None
        return order

    def get(self, order_id: str) -> Order:
        """Return the order by a strongly consistent read. Raises `OrderNotFound`."""
        if not is_order_id(order_id):
            raise OrderNotFound("There is no such order.")
        with translate_read_errors():
            item = self._client.get_item(TableName=self._table_name, Key=order_key(order_id), ConsistentRead=True).get(
                "Item"
            )
        return _require_order(from_wire(item) if item else None)

    def claim(self, order: Order, attempt: PaymentAttempt, *, deadline: Deadline) -> Order:
        """Make `attempt` the order's one attempt and hold its stock, in one transaction.

        The condition on the order stops a second payer, and a payer after an override. The condition on each product
        stops overselling. If both fail, the order's result takes precedence.

        Raises
        ------
        NotClaimable, OrderNotFound
            Another payer or an admin was first, or the order does not exist.
        StockTooShort
            The stock does not cover the order. See `cancel_unclaimed`.
        Busy
            Other payments hold the units, contention outlasted `deadline`, or the database does not respond.
        """
        claimed = replace(order, attempt=attempt, updated_at=attempt.started_at)
        # Concurrent payers who read the same order must not exceed the limit of refused attempts.
        no_more_refusals = Condition(
            "(attribute_not_exists(refusedAttempts) OR refusedAttempts <= :refused_attempts)",
            {":refused_attempts": order.refused_attempts},
        )
        write = update_order(
            self._table_name,
            order.order_id,
            "SET #payment = :payment, unsettledShard = :shard, unsettledSince = :now, updatedAt = :now",
            [UNCLAIMED, may_become(OrderStatus.CONFIRMED), no_more_refusals],
            {
                ":payment": attempt_to_item(attempt),
                ":shard": shard_of(order.order_id),
                ":now": rfc3339(attempt.started_at),
            },
        )
        return self._move_payable(order, claimed, [write, *self._stock_moves(order, self._products.hold)], deadline)

    def settle_confirmed(self, order: Order, *, now: datetime, deadline: Deadline) -> Order:
        """Confirm the order and turn its holds into reductions of the stock, in one transaction.

        If the hold of a product is missing, its units are taken from the available ones, if there are enough.
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
        """Write `settled` if the attempt is still in flight, so that a second settlement cannot move the stock again.

        Returns the recorded order: `settled`, the result of another settlement, or the order still in flight if
        contention prevented the write.
        """
        update = f"SET #status = :status, updatedAt = :now REMOVE {UNSETTLED_ATTRIBUTES}"
        values: dict[str, Any] = {":status": settled.status, ":now": rfc3339(settled.updated_at)}
        if settled.reason:
            update = update.replace(" REMOVE", ", reason = :reason REMOVE")
            values[":reason"] = reason_to_item(settled.reason)
        conditions = [_is_in_flight(order.require_in_flight()), may_become(settled.status)]
        write = update_order(self._table_name, order.order_id, update, conditions, values)
        return self._move_in_flight(
            order, settled, [write, *stock_moves], without_holds=without_holds, deadline=deadline
        )

    def void(self, order: Order, *, was_refused: bool, now: datetime, deadline: Deadline) -> Order:
        """Remove the attempt and release its holds, in one transaction. The order can then be paid again.

        The attempt must certainly have charged nothing. If it `was_refused`, it counts in `refused_attempts`.
        """
        refusal = f", {_COUNT_REFUSAL}" if was_refused else ""
        write = update_order(
            self._table_name,
            order.order_id,
            f"SET updatedAt = :now{refusal} REMOVE #payment, {UNSETTLED_ATTRIBUTES}",
            [_is_in_flight(order.require_in_flight()), may_become(OrderStatus.CONFIRMED)],
            {":now": rfc3339(now), **(_REFUSAL_VALUES if was_refused else {})},
        )
        releases = self._stock_moves(order, self._products.release)
        voided = replace(order, attempt=None, refused_attempts=order.refused_attempts + was_refused, updated_at=now)
        return self._move_in_flight(order, voided, [write, *releases], deadline=deadline)

    def count_refused_attempt(self, order: Order, *, now: datetime, deadline: Deadline) -> Order:
        """Count an attempt that Stripe refused before the order was claimed. Returns the recorded order."""
        write = update_order(
            self._table_name,
            order.order_id,
            f"SET {_COUNT_REFUSAL}, updatedAt = :now",
            [UNCLAIMED, may_become(OrderStatus.CONFIRMED)],
            {":now": rfc3339(now), **_REFUSAL_VALUES},
        )
        counted = replace(order, refused_attempts=order.refused_attempts + 1, updated_at=now)
        return self._write_alone(write, counted, deadline)

    def cancel_unclaimed(
        self,
        order: Order,
        reason: Reason,
        *,
        attempt: PaymentAttempt | None,
        request_id: str | None = None,
        now: datetime,
        deadline: Deadline,
    ) -> Order:
        """Cancel an unclaimed order. Record the `attempt` that was meant to pay it, or the request that made none.

        The condition fails if another payer claimed the order or an admin settled it meanwhile. Returns the recorded
        order.
        """
        cancelled = replace(
            order,
            status=OrderStatus.CANCELLED,
            reason=reason,
            attempt=attempt,
            cancel_request_id=request_id,
            updated_at=now,
        )
        update = "SET #status = :status, reason = :reason, updatedAt = :now"
        values = {":status": cancelled.status, ":reason": reason_to_item(reason), ":now": rfc3339(now)}
        if attempt:
            update, values = f"{update}, #payment = :payment", {**values, ":payment": attempt_to_item(attempt)}
        if request_id:
            update, values = f"{update}, cancelRequestId = :request_id", {**values, ":request_id": request_id}
        write = update_order(
            self._table_name, order.order_id, update, [UNCLAIMED, may_become(cancelled.status)], values
        )
        return self._write_alone(write, cancelled, deadline)

    def settle_by_hand(
        self, order: Order, status: OrderStatus, reason: Reason, override: Override, *, deadline: Deadline
    ) -> Order:
        """Settle an order without an attempt, as an admin decides. Confirming it also reduces the stock.

        The condition fails if a payer, who may be charged, claimed the order meanwhile. Raises as `claim` does.
        """
        settled = replace(order, status=status, reason=reason, override=override, updated_at=override.at)
        write = update_order(
            self._table_name,
            order.order_id,
            "SET #status = :status, reason = :reason, #override = :override, updatedAt = :now",
            [UNCLAIMED, may_become(status)],
            {
                ":status": status,
                ":reason": reason_to_item(reason),
                ":override": override_to_item(override),
                ":now": rfc3339(override.at),
            },
        )
        sales = self._stock_moves(order, self._products.sell) if status is OrderStatus.CONFIRMED else []
        return self._move_payable(order, settled, [write, *sales], deadline)

    def owe_refund(self, order: Order, refund: Refund, *, deadline: Deadline) -> Order:
        """Record a refund before it is sent, so that the reconciler finds it. Raises as `record_refund` does."""
        return self._write_refund(order, refund, {}, deadline)

    def record_refund(self, order: Order, refund: Refund, *, deadline: Deadline) -> Order:
        """Record the new status of a refund, or a refund that was made at Stripe. Returns the order as recorded.

        The transaction that records an owed refund as sent also puts its units back on the shelf. A product that cannot
        take them is reported and left out.

        Raises
        ------
        RefundsChanged
            Another writer changed the order's refunds since they were read. Nothing was written.
        Busy
            Contention outlasted `deadline`, or the database does not respond.
        """
        was_owed = any(each.refund_id == refund.refund_id and each.is_owed for each in order.refunds)
        return self._write_refund(order, refund, dict(refund.restock) if was_owed else {}, deadline)

    def _write_refund(self, order: Order, refund: Refund, restock: Mapping[str, int], deadline: Deadline) -> Order:
        while True:
            recorded = replace(
                order, refunds=with_refund(order.refunds, refund), refunds_version=order.refunds_version + 1
            )
            writes = [self._refunds_write(order, recorded, refund), *starmap(self._products.restock, restock.items())]
            try:
                write_transaction(self._client, writes, deadline=deadline)
            except TransactionRefused as refused:
                if 0 in refused.old_items:
                    raise RefundsChanged(_require_order(refused.old_items[0])) from refused
                products = list(restock)
                closed = {products[position - 1] for position in refused.old_items}
                logger.error("stock mismatch: restock impossible", orderId=order.order_id, productIds=sorted(closed))
                count(Count.MISMATCH)
                restock = {product_id: units for product_id, units in restock.items() if product_id not in closed}
                refund = replace(refund, restock=tuple(restock.items()))
            except WriteOutcomeUnknown:
                found = self.get(order.order_id)
                if refund in found.refunds:
                    return found
                if found.refunds_version == order.refunds_version:
                    raise Busy("The database does not respond. Try again.") from None
                raise RefundsChanged(found) from None
            else:
                return recorded

    def _refunds_write(self, order: Order, recorded: Order, refund: Refund) -> "TransactWriteItemTypeDef":
        """Return the write of the order's refunds. It lists the order while a refund is owed or pending."""
        values: dict[str, Any] = {f":{name}": value for name, value in refunds_to_item(recorded.refunds).items()}
        sets = [*(f"{name[1:]} = {name}" for name in values), "refundsVersion = :version"]
        values[":version"] = recorded.refunds_version
        if unfinished := recorded.unfinished_refunds:
            owed = recorded.owed_refund
            values[":shard"] = shard_of_refunds(recorded)
            since = owed.created_at if owed else refund.updated_at + PENDING_REFUND_INTERVAL
            values[":since"] = rfc3339(since)
            sets += ["unsettledShard = :shard", "unsettledSince = :since"]
        removed = "firstUnsettledSince" if unfinished else UNSETTLED_ATTRIBUTES
        return update_order(
            self._table_name,
            order.order_id,
            f"SET {', '.join(sets)} REMOVE {removed}",
            [is_settled(), *refunds_are_unchanged(order)],
            values,
        )

    def _move_payable(
        self, order: Order, moved: Order, writes: "Sequence[TransactWriteItemTypeDef]", deadline: Deadline
    ) -> Order:
        """Write `moved` over an order that is neither claimed nor settled. Raises as `claim` does."""
        try:
            write_transaction(self._client, writes, deadline=deadline)
        except TransactionRefused as refused:
            if 0 in refused.old_items:
                raise NotClaimable(_require_order(refused.old_items[0])) from refused
            shortages = _shortages(order, refused.old_items)
            if not shortages:
                raise Busy("Other payments hold the remaining units. Try again.", order=order) from refused
            raise StockTooShort(shortages) from refused
        except WriteOutcomeUnknown:
            recorded = self.get(order.order_id)
            if recorded.is_payable:
                raise Busy("The database does not respond. Try again.") from None
            if (recorded.attempt, recorded.override) != (moved.attempt, moved.override):
                raise NotClaimable(recorded) from None
            return recorded
        return moved

    def _write_alone(self, write: "TransactWriteItemTypeDef", moved: Order, deadline: Deadline) -> Order:
        """Write `moved`, without stock, or return the recorded order if the condition fails. Raises `Busy`."""
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
        raise Busy("Too many concurrent writes to the order. Try again.")

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
        """Write `moved` over an order in flight. Returns it, or the recorded order if it was not written.

        Another service that edits the products table can remove holds. A product without its hold is reported. Its
        write is replaced by the one of `without_holds`, or dropped, so that the order is settled in any case.
        """
        alternatives = list(zip_longest(writes, [None, *without_holds]))
        reported: set[str] = set()
        while True:
            writes = [write for write, _ in alternatives if write is not None]
            try:
                write_transaction(self._client, writes, deadline=deadline)
            except TransactionRefused as refused:
                if 0 in refused.old_items:
                    return _require_order(refused.old_items[0])
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


def _require_order(item: Item | None) -> Order:
    if item is None:
        raise OrderNotFound("There is no such order.")
    return order_from_item(item)


def _shortages(order: Order, old_items: Mapping[int, Item | None]) -> list[Shortage]:
    """Return the products whose stock is too low, from the refused writes of a transaction.

    Position 0 is the order; the products follow. Units that other payments hold may be released, so they are not a
    shortage. Neither is an `available` above `stock`: the product cannot be sold until it is repaired, but its units
    exist. Unreadable stock counts as 0.
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
