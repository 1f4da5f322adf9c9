"""The orders table: every access pattern on orders, one method each.

All writes are conditional, so that the database decides every race; a refusal carries the order as it is, and the
methods that move an order return it as it is then recorded, whoever moved it.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from order_payments.clock import Deadline, from_rfc3339, rfc3339
from order_payments.dynamodb import (
    ConditionFailed,
    Item,
    ReplyLost,
    TransactionRefused,
    from_wire,
    reading,
    to_wire,
    write_transaction,
    writing,
)
from order_payments.errors import Busy, OrderNotFound
from order_payments.observability import logger
from order_payments.orders import (
    PAYMENT_METHOD,
    Order,
    OrderLine,
    OrderStatus,
    PaymentAttempt,
    Reason,
    Shortage,
    is_order_id,
    statuses_before,
)
from order_payments.products_table import ProductsTable, available_in

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

UNSETTLED_SHARDS = 8
"""Partition keys of the `unsettled` index; each takes 1,000 writes a second, and a payment makes two."""

_NAMES = {"#status": "status", "#payment": "payment"}
_IN_FLIGHT = "#status = :expected AND #payment.attemptId = :attempt_id"
_UNCLAIMED = "#status = :expected AND attribute_not_exists(#payment)"


class NotClaimable(Exception):
    """The order was claimed or settled before; `order` is what is recorded."""

    def __init__(self, order: Order) -> None:
        super().__init__(f"order {order.order_id} is not to be claimed")
        self.order = order


class StockTooShort(Exception):
    """Some products cannot be had in the quantity that the order wants, so it was not claimed."""

    def __init__(self, shortages: Iterable[Shortage]) -> None:
        super().__init__("the stock is too short")
        self.shortages = tuple(shortages)


class OrdersTable:
    """Orders by `orderId`. A write that also moves stock takes its part for each product from `products`."""

    def __init__(self, client: "DynamoDBClient", table_name: str, products: ProductsTable) -> None:
        self._client = client
        self._table_name = table_name
        self._products = products

    def create(self, order: Order) -> None:
        """Write a new order. Its id is fresh, so that finding it there already means that botocore sent it twice."""
        try:
            with writing():
                self._client.put_item(
                    TableName=self._table_name,
                    Item=to_wire(_to_item(order)),
                    ConditionExpression="attribute_not_exists(orderId)",
                )
        except ConditionFailed:
            pass
        except ReplyLost:
            raise Busy("The database does not answer.") from None

    def get(self, order_id: str) -> Order:
        """The order as it is now, strongly consistent. Raises `OrderNotFound`."""
        if not is_order_id(order_id):
            raise OrderNotFound("There is no such order.")
        with reading():
            item = self._client.get_item(TableName=self._table_name, Key=_key(order_id), ConsistentRead=True).get(
                "Item"
            )
        return _existing(from_wire(item) if item else None)

    def claim(self, order: Order, attempt: PaymentAttempt, *, deadline: Deadline) -> Order:
        """Make `attempt` the order's one attempt and hold its stock, in one transaction.

        The condition on the order stops a second payer, and one who comes after an override; that on each product
        stops the sale of what is not there. Where both fail, the order's says more: nothing is to be sold any more.

        Raises
        ------
        NotClaimable, OrderNotFound
            Somebody else was first.
        StockTooShort
            Nothing was written: see `cancel_unclaimed`.
        Busy
            Contention outlasted `deadline`, or the database does not answer at all.
        """
        claimed = replace(order, attempt=attempt, updated_at=attempt.started_at)
        write = self._update(
            order,
            "SET #payment = :payment, unsettledShard = :shard, unsettledSince = :now, updatedAt = :now",
            condition=_UNCLAIMED,
            values={
                ":expected": OrderStatus.PENDING,
                ":payment": _attempt_to_item(attempt),
                ":shard": _shard(order.order_id),
                ":now": rfc3339(attempt.started_at),
            },
        )
        quantities = order.quantities()
        holds = [self._products.hold(product_id, quantity) for product_id, quantity in quantities.items()]
        try:
            write_transaction(self._client, [write, *holds], deadline=deadline)
        except TransactionRefused as refused:
            if 0 in refused.old_items:
                raise NotClaimable(_existing(refused.old_items[0])) from refused
            raise StockTooShort(_shortages(quantities, refused.old_items)) from refused
        except ReplyLost:
            recorded = self.get(order.order_id)
            if recorded.attempt is None:
                raise Busy("The database does not answer.") from None
            if recorded.attempt.attempt_id != attempt.attempt_id:
                raise NotClaimable(recorded) from None
        return claimed

    def settle_confirmed(self, order: Order, *, now: datetime, deadline: Deadline) -> Order:
        """Confirm the order and make its holds reductions of the stock, in one transaction."""
        return self._settle(
            order,
            replace(order, status=OrderStatus.CONFIRMED, updated_at=now),
            [self._products.take(product_id, quantity) for product_id, quantity in order.quantities().items()],
            deadline=deadline,
        )

    def settle_cancelled(self, order: Order, reason: Reason, *, now: datetime, deadline: Deadline) -> Order:
        """Cancel the order for `reason` and release its holds, in one transaction."""
        return self._settle(
            order,
            replace(order, status=OrderStatus.CANCELLED, reason=reason, updated_at=now),
            [self._products.release(product_id, quantity) for product_id, quantity in order.quantities().items()],
            deadline=deadline,
        )

    def _settle(
        self, order: Order, settled: Order, stock_moves: "Sequence[TransactWriteItemTypeDef]", *, deadline: Deadline
    ) -> Order:
        """Write `settled` on the condition that its attempt is still in flight.

        The condition stops a second settlement from moving the stock again. Returns the order as it is recorded: as
        somebody else settled it meanwhile, or still in flight where contention did not let us in.
        """
        update = "SET #status = :status, updatedAt = :now REMOVE unsettledShard, unsettledSince"
        values: dict[str, Any] = {":status": settled.status, ":now": rfc3339(settled.updated_at)}
        if settled.reason:
            update = update.replace(" REMOVE", ", reason = :reason REMOVE")
            values[":reason"] = _reason_to_item(settled.reason)
        (expected,) = statuses_before(settled.status)
        write = self._update(
            settled,
            update,
            condition=_IN_FLIGHT,
            values={":expected": expected, ":attempt_id": order.attempt_in_flight().attempt_id, **values},
        )
        return self._move_in_flight(order, settled, [write, *stock_moves], deadline=deadline)

    def void(self, order: Order, *, now: datetime, deadline: Deadline) -> Order:
        """Take the attempt back as if it had not been, and release its holds, in one transaction.

        Only for an attempt of which it is certain that it charged nothing. The order can be paid again.
        """
        attempt = order.attempt_in_flight()
        write = self._update(
            order,
            "SET updatedAt = :now REMOVE #payment, unsettledShard, unsettledSince",
            condition=_IN_FLIGHT,
            values={":expected": OrderStatus.PENDING, ":attempt_id": attempt.attempt_id, ":now": rfc3339(now)},
        )
        releases = [self._products.release(product_id, quantity) for product_id, quantity in order.quantities().items()]
        voided = replace(order, attempt=None, updated_at=now)
        return self._move_in_flight(order, voided, [write, *releases], deadline=deadline)

    def cancel_unclaimed(self, order: Order, attempt: PaymentAttempt, reason: Reason, *, now: datetime) -> Order:
        """Cancel an order that could not be claimed, and record the `attempt` that found it so.

        The condition stops it where another payer claimed the order, or an admin settled it, in between. Returns the
        order as it is then recorded.
        """
        cancelled = replace(order, status=OrderStatus.CANCELLED, reason=reason, attempt=attempt, updated_at=now)
        (expected,) = statuses_before(cancelled.status)
        write = self._update(
            order,
            "SET #status = :status, #payment = :payment, reason = :reason, updatedAt = :now",
            condition=_UNCLAIMED,
            values={
                ":expected": expected,
                ":status": cancelled.status,
                ":payment": _attempt_to_item(attempt),
                ":reason": _reason_to_item(reason),
                ":now": rfc3339(now),
            },
        )
        try:
            with writing():
                self._client.update_item(**write["Update"])
        except ConditionFailed as refused:
            return _existing(refused.old_item)
        except ReplyLost:
            return self.get(order.order_id)
        return cancelled

    def _move_in_flight(
        self, order: Order, moved: Order, writes: "Sequence[TransactWriteItemTypeDef]", *, deadline: Deadline
    ) -> Order:
        """Write what turns `order` into `moved`, or return it as it is recorded: as another made it, or in flight."""
        try:
            write_transaction(self._client, writes, deadline=deadline)
        except TransactionRefused as refused:
            if 0 in refused.old_items:
                return _existing(refused.old_items[0])
            # A product's condition held when its stock was held. Nothing of ours undoes that, so a person has to look.
            logger.error("stock does not match its holds", positions=sorted(refused.old_items))
        except ReplyLost:
            with suppress(Busy):
                return self.get(order.order_id)
        except Busy:
            logger.warning("contention outlasted the settlement")
        else:
            return moved
        return order

    def _update(
        self, order: Order, update: str, *, condition: str, values: Mapping[str, Any]
    ) -> "TransactWriteItemTypeDef":
        return {
            "Update": {
                "TableName": self._table_name,
                "Key": _key(order.order_id),
                "UpdateExpression": update,
                "ConditionExpression": condition,
                "ExpressionAttributeNames": _NAMES,
                "ExpressionAttributeValues": to_wire(values),
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }


def _shortages(quantities: Mapping[str, int], old_items: Mapping[int, Item | None]) -> list[Shortage]:
    """The short products, from the refused writes of a claim: position 0 is the order, the products follow."""
    wanted = list(quantities.items())
    return [
        Shortage(*wanted[position - 1], available=available_in(item)) for position, item in sorted(old_items.items())
    ]


def _existing(item: Item | None) -> Order:
    if item is None:
        raise OrderNotFound("There is no such order.")
    return _from_item(item)


def _key(order_id: str) -> dict[str, Any]:
    return to_wire({"orderId": order_id})


def _shard(order_id: str) -> str:
    return f"unsettled-{zlib.crc32(order_id.encode()) % UNSETTLED_SHARDS}"


def _to_item(order: Order) -> Item:
    item: Item = {
        "orderId": order.order_id,
        "buyerId": order.buyer_id,
        "status": order.status,
        "totalAmount": order.total_amount,
        "currency": order.currency,
        "paymentMethod": PAYMENT_METHOD,
        "items": [
            {
                "productId": line.product_id,
                "name": line.name,
                "quantity": line.quantity,
                "unitPrice": line.unit_price,
            }
            for line in order.lines
        ],
        "createdAt": rfc3339(order.created_at),
        "updatedAt": rfc3339(order.updated_at),
    }
    if order.reason:
        item["reason"] = _reason_to_item(order.reason)
    if order.attempt:
        item["payment"] = _attempt_to_item(order.attempt)
    return item


def _from_item(item: Item) -> Order:
    return Order(
        order_id=item["orderId"],
        buyer_id=item["buyerId"],
        status=OrderStatus(item["status"]),
        total_amount=int(item["totalAmount"]),
        currency=item["currency"],
        lines=tuple(
            OrderLine(line["productId"], line["name"], int(line["quantity"]), int(line["unitPrice"]))
            for line in item["items"]
        ),
        created_at=from_rfc3339(item["createdAt"]),
        updated_at=from_rfc3339(item["updatedAt"]),
        reason=_reason_from_item(item["reason"]) if "reason" in item else None,
        attempt=_attempt_from_item(item["payment"]) if "payment" in item else None,
    )


def _attempt_to_item(attempt: PaymentAttempt) -> Item:
    item: Item = {
        "attemptId": attempt.attempt_id,
        "paymentIntentId": attempt.payment_intent_id,
        "paymentMethodId": attempt.payment_method_id,
        "startedAt": rfc3339(attempt.started_at),
    }
    if attempt.idempotency_key is not None:
        item["idempotencyKey"] = attempt.idempotency_key
    if attempt.shortages:
        item["shortages"] = [
            {"productId": short.product_id, "requested": short.requested, "available": short.available}
            for short in attempt.shortages
        ]
    return item


def _attempt_from_item(item: Item) -> PaymentAttempt:
    return PaymentAttempt(
        attempt_id=item["attemptId"],
        payment_intent_id=item["paymentIntentId"],
        payment_method_id=item["paymentMethodId"],
        started_at=from_rfc3339(item["startedAt"]),
        idempotency_key=item.get("idempotencyKey"),
        shortages=tuple(
            Shortage(short["productId"], int(short["requested"]), int(short["available"]))
            for short in item.get("shortages", [])
        ),
    )


def _reason_to_item(reason: Reason) -> Item:
    return {"code": reason.code, "declineCode": reason.decline_code, "message": reason.message}


def _reason_from_item(item: Item) -> Reason:
    return Reason(item["code"], item["message"], item["declineCode"])
