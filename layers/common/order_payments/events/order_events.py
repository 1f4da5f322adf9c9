"""Order events, built from records of the orders table's stream."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import Field

from order_payments.api.refund_views import RefundView
from order_payments.api.views import OrderView, View
from order_payments.domain.orders import TRANSITIONS, Order, OrderStatus
from order_payments.domain.refunds import Refund, RefundStatus
from order_payments.runtime.clock import rfc3339
from order_payments.storage.dynamodb import Item, from_wire
from order_payments.storage.order_records import order_from_item

SOURCE = "order-payments"
EVENT_VERSION = 1
"""Version of the detail. Adding a field keeps the version; removing one or changing its meaning needs a new version."""

DETAIL_TYPES: Mapping[OrderStatus, str] = {
    OrderStatus.PENDING: "order.created",
    OrderStatus.CONFIRMED: "order.confirmed",
    OrderStatus.CANCELLED: "order.cancelled",
}
REFUND_DETAIL_TYPES: Mapping[RefundStatus, str] = {
    RefundStatus.SUCCEEDED: "order.refunded",
    RefundStatus.FAILED: "order.refund_failed",
    RefundStatus.REFUSED: "order.refund_failed",
}


class OrderEventDetail(View):
    """The detail of `order.created`, `order.confirmed` and `order.cancelled`, from the source `order-payments`.

    Delivery is at-least-once: deduplicate on `eventId`. EventBridge may deliver events out of order: `confirmed` and
    `cancelled` are final, so ignore an `order.created` that arrives after them.
    """

    version: Literal[1]
    event_id: str = Field(
        description="Identifies the event. It is the same each time the event is published.",
        examples=["ord_468909abedb74305b37f8bb1ce2b0ce1.confirmed"],
    )
    occurred_at: str = Field(
        description="Time at which the order got this status.",
        examples=["2026-11-23T05:50:20.186Z"],
        json_schema_extra={"format": "date-time"},
    )
    correlation_id: str | None = Field(
        description="The `requestId` of the request that caused the event, if it is recorded.",
        examples=["f3e0a3a2-2f0c-4a9b-8f4e-0f5b1c6d7e80"],
    )
    order: OrderView = Field(description="The order at that time.")


class OrderRefundDetail(OrderEventDetail):
    """The detail of `order.refunded` and `order.refund_failed`, from the source `order-payments`.

    `order.refunded`: the money of a refund was returned. `order.refund_failed`: Stripe refused the refund, or could not
    return its money, which may be known only after `order.refunded`.
    """

    event_id: str = Field(
        description="Identifies the event. It is the same each time the event is published.",
        examples=["ord_468909abedb74305b37f8bb1ce2b0ce1.ref_9f86d081884c7d659a2feaa0c55ad015.succeeded"],
    )
    occurred_at: str = Field(
        description="Time at which the refund got its status.",
        examples=["2026-11-24T09:12:01.207Z"],
        json_schema_extra={"format": "date-time"},
    )
    refund: RefundView = Field(description="The refund at that time.")


class OrderEvent(NamedTuple):
    """An event, ready to be published. `refund` is None unless the event is about a refund."""

    event_id: str
    detail_type: str
    detail: str
    order: Order
    refund: Refund | None = None

    @classmethod
    def of(cls, order: Order) -> "OrderEvent":
        """Return the event of the order's current status."""
        event_id = f"{order.order_id}.{order.status}"
        detail = OrderEventDetail(
            version=EVENT_VERSION,
            event_id=event_id,
            occurred_at=rfc3339(order.updated_at),
            correlation_id=order.last_request_id,
            order=OrderView.of(order),
        )
        return cls(event_id, DETAIL_TYPES[order.status], detail.model_dump_json(by_alias=True), order)

    @classmethod
    def of_refund(cls, order: Order, refund: Refund) -> "OrderEvent":
        """Return the event of a refund's current status, which must be one of `REFUND_DETAIL_TYPES`."""
        event_id = f"{order.order_id}.{refund.refund_id}.{refund.status}"
        detail = OrderRefundDetail(
            version=EVENT_VERSION,
            event_id=event_id,
            occurred_at=rfc3339(refund.updated_at),
            correlation_id=refund.request_id,
            order=OrderView.of(order),
            refund=RefundView.of_order(order, refund),
        )
        return cls(event_id, REFUND_DETAIL_TYPES[refund.status], detail.model_dump_json(by_alias=True), order, refund)


def read_event(record: Mapping[str, Any]) -> OrderEvent | None:
    """Return the event of a stream record; None if neither the status nor a refund changed as listeners expect.

    The event source mapping filters most such records out. An operator who publishes records again may still send them.

    Raises any error of `order_from_item` for an invalid item, and `ValueError` for a forbidden status transition.
    """
    images = record["dynamodb"]
    if "NewImage" not in images:
        return None
    before, after = (from_wire(images.get(name, {})) for name in ("OldImage", "NewImage"))
    if before and before.get("status") == after.get("status"):
        return _read_refund_event(before, after)
    order = order_from_item(after)
    if before and order.status not in TRANSITIONS[OrderStatus(before["status"])]:
        raise ValueError(f"order status changed from {before['status']} to {order.status}")
    return OrderEvent.of(order)


def _read_refund_event(before: Item, after: Item) -> OrderEvent | None:
    """Return the event of the refund that the write changed. A write changes one refund, and not the status."""
    if before.get("refundsVersion") == after.get("refundsVersion"):
        return None
    order = order_from_item(after)
    known = {(refund.refund_id, refund.status) for refund in order_from_item(before).refunds}
    for refund in order.refunds:
        if (refund.refund_id, refund.status) not in known and refund.status in REFUND_DETAIL_TYPES:
            return OrderEvent.of_refund(order, refund)
    return None
