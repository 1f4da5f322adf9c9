"""What happened to an order, told to others: made of a record of the orders table's stream."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import Field

from order_payments.api.views import OrderView, View
from order_payments.domain.orders import TRANSITIONS, Order, OrderStatus
from order_payments.runtime.clock import rfc3339
from order_payments.storage.dynamodb import from_wire
from order_payments.storage.order_records import order_from_item

SOURCE = "order-payments"
EVENT_VERSION = 1
"""Of the detail. A field may be added to a version; what is taken away, or means something else, is another version."""

DETAIL_TYPES: Mapping[OrderStatus, str] = {
    OrderStatus.PENDING: "order.created",
    OrderStatus.CONFIRMED: "order.confirmed",
    OrderStatus.CANCELLED: "order.cancelled",
}


class OrderEventDetail(View):
    """The detail of `order.created`, `order.confirmed` and `order.cancelled`, from the source `order-payments`.

    Events come at least once: one with an `eventId` that was seen before is the same event again. EventBridge may
    deliver them out of order: an order that is `confirmed` or `cancelled` stays so, whatever comes after.
    """

    version: Literal[1]
    event_id: str = Field(
        description="The same whenever the same event is published again.",
        examples=["ord_468909abedb74305b37f8bb1ce2b0ce1.confirmed"],
    )
    occurred_at: str = Field(
        description="When the order was written so.",
        examples=["2026-11-23T05:50:20.186Z"],
        json_schema_extra={"format": "date-time"},
    )
    correlation_id: str | None = Field(
        description="The id of the request that it comes from, where that is recorded: its client's `requestId`.",
        examples=["f3e0a3a2-2f0c-4a9b-8f4e-0f5b1c6d7e80"],
    )
    order: OrderView = Field(description="The order as it was written then.")


class OrderEvent(NamedTuple):
    """An event, ready for a bus."""

    event_id: str
    detail_type: str
    detail: str
    order: Order

    @classmethod
    def of(cls, order: Order) -> "OrderEvent":
        """Return the event that the order has its present status."""
        event_id = f"{order.order_id}.{order.status}"
        detail = OrderEventDetail(
            version=EVENT_VERSION,
            event_id=event_id,
            occurred_at=rfc3339(order.updated_at),
            correlation_id=order.last_request_id,
            order=OrderView.of(order),
        )
        return cls(event_id, DETAIL_TYPES[order.status], detail.model_dump_json(by_alias=True), order)


def read_event(record: Mapping[str, Any]) -> OrderEvent | None:
    """The event that a record of the stream stands for; None where the order's status did not change.

    The mapping's filter keeps such records away. It cannot where somebody publishes records again by hand.

    Raises whatever reading an item raises that is no order of ours, and `ValueError` for a status that cannot follow
    the one before it.
    """
    images = record["dynamodb"]
    if "NewImage" not in images:
        return None
    before, after = (from_wire(images.get(name, {})) for name in ("OldImage", "NewImage"))
    if before and before.get("status") == after.get("status"):
        return None
    order = order_from_item(after)
    if before and order.status not in TRANSITIONS[OrderStatus(before["status"])]:
        raise ValueError(f"an order became {order.status} that was {before['status']}")
    return OrderEvent.of(order)
