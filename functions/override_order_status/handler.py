"""`PUT /admin/orders/{orderId}/status`: an admin settles an order that has no payment attempt."""

from order_payments.composition import Components

from typing import Annotated, Literal

from pydantic import Field

from order_payments.api.resolver import Api
from order_payments.api.responses import success
from order_payments.api.routes import route_of
from order_payments.api.views import OrderStatusView, RequestBody
from order_payments.domain.errors import InsufficientStock, OrderNotFound, OrderNotPending, PaymentInProgress
from order_payments.domain.orders import NO_ORDER, OrderStatus
from order_payments.domain.text import LINE_OF_TEXT
from order_payments.payments import override_status
from order_payments.runtime.observability import logger


class OverrideRequest(RequestBody):
    """The outcome and its reason. The reason is stored with the order and shown to its buyer."""

    status: Literal["confirmed", "cancelled"]
    reason: Annotated[str, Field(max_length=500, pattern=LINE_OF_TEXT, examples=["Paid by bank transfer."])]


components = Components()
orders = components.orders
api = Api(
    route_of("override_order_status"), raises=[OrderNotFound, OrderNotPending, PaymentInProgress, InsufficientStock]
)


@api.endpoint(responses={200: success("The settled order.")})
def override_order_status(order_id: str, body: OverrideRequest) -> OrderStatusView:
    """Confirm the order and reduce its stock, or cancel it."""
    admin_id = api.caller.user_id
    order = override_status(
        order_id,
        OrderStatus(body.status),
        by=admin_id,
        why=body.reason,
        request_id=api.request_id,
        orders=orders,
        deadline=api.deadline,
    )
    logger.info("order settled by hand", status=order.status, by=admin_id, reason=body.reason)
    return OrderStatusView.of(order)


handler = api.resolve
components.finish_start(warm_up=lambda: orders.get(NO_ORDER))
