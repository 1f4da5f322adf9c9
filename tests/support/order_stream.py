"""Orders, and records of the orders table's stream as Lambda passes them to a function."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from order_payments.domain.orders import Order, OrderLine, OrderStatus, PaymentAttempt, Reason
from order_payments.storage.dynamodb import to_wire
from order_payments.storage.order_records import order_to_item

PLACED_AT = datetime(2026, 11, 23, 5, 50, 20, 90000, tzinfo=UTC)
SETTLED_AT = PLACED_AT + timedelta(seconds=2)
DECLINED = Reason("card_declined", "Your card was declined.", "generic_decline")

_sequence = itertools.count(1)

Record = dict[str, Any]


def place(buyer: str = "alice", *, lines: int = 1, name: str = "Green tea") -> Order:
    """Return a new order without an attempt."""
    line = OrderLine("green-tea", name, 2, 4599)
    expires_at = PLACED_AT + timedelta(hours=72)
    return Order.place(buyer, [line] * lines, "usd", PLACED_AT, expires_at=expires_at, request_id="of-the-order")


def change(order: Order, **to: Any) -> Order:
    """Return the order with changed attributes, updated two seconds later."""
    return replace(order, **{"updated_at": SETTLED_AT, **to})


def claim(order: Order) -> Order:
    """Return the order with an attempt in flight."""
    attempt = PaymentAttempt(PaymentAttempt.new_id(), "pi_1", "pm_card_visa", SETTLED_AT, request_id="of-the-payment")
    return change(order, attempt=attempt)


def confirm(order: Order) -> Order:
    """Return the order, confirmed by a payment."""
    return change(claim(order), status=OrderStatus.CONFIRMED)


def cancel(order: Order) -> Order:
    """Return the order, cancelled by a decline."""
    return change(claim(order), status=OrderStatus.CANCELLED, reason=DECLINED)


def record(before: Order | None, after: Order | None, **image: Any) -> Record:
    """Return the record of a write. `image` replaces attributes of the new image, in DynamoDB's JSON."""
    images = {
        name: to_wire(order_to_item(order)) | (image if name == "NewImage" else {})
        for name, order in (("OldImage", before), ("NewImage", after))
        if order
    }
    order = after or before
    assert order is not None
    return {
        "eventName": "INSERT" if before is None else "REMOVE" if after is None else "MODIFY",
        "eventSource": "aws:dynamodb",
        "dynamodb": {
            "Keys": to_wire({"orderId": order.order_id}),
            "SequenceNumber": f"{next(_sequence):024d}",
            "StreamViewType": "NEW_AND_OLD_IMAGES",
            **images,
        },
    }


def creation(order: Order) -> Record:
    """Return the record of the order's creation."""
    return record(None, order)


def confirmation(order: Order) -> Record:
    """Return the record of the order's confirmation by a payment."""
    return record(claim(order), confirm(order))


def cancellation(order: Order) -> Record:
    """Return the record of the order's cancellation by a decline."""
    return record(claim(order), cancel(order))


def malformed_record() -> Record:
    """Return the record of an item without an order's required attribute."""
    malformed = creation(place())
    del malformed["dynamodb"]["NewImage"]["totalAmount"]
    return malformed


def sequence_number(record: Record) -> str:
    """Return the sequence number, which identifies the record in a batch response."""
    number: str = record["dynamodb"]["SequenceNumber"]
    return number
