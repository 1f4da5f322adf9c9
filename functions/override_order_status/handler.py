"""`PUT /admin/orders/{orderId}/status`: an admin settles an order by hand that nobody has tried to pay."""

from order_payments.runtime.start_up import started

from typing import Annotated, Any, Literal

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from order_payments.api.resolver import Api, described
from order_payments.api.views import OrderStatusView, RequestBody
from order_payments.domain.errors import InsufficientStock, OrderNotFound, OrderNotPending, PaymentInProgress
from order_payments.domain.identity import Role
from order_payments.domain.orders import NO_ORDER, OrderStatus
from order_payments.domain.text import LINE_OF_TEXT
from order_payments.payments import override_status
from order_payments.runtime.observability import logger
from order_payments.runtime.settings import TableSettings
from order_payments.storage.dynamodb import dynamodb_client
from order_payments.storage.orders_table import OrdersTable
from order_payments.storage.products_table import ProductsTable


class OverrideRequest(RequestBody):
    """How the order ends, and why, which is kept on the order and shown to its buyer."""

    status: Literal["confirmed", "cancelled"]
    reason: Annotated[str, Field(max_length=500, pattern=LINE_OF_TEXT, examples=["Paid by bank transfer."])]


settings = TableSettings.from_environment()
client = dynamodb_client()
orders = OrdersTable(client, settings.orders_table, ProductsTable(client, settings.products_table))
api = Api(Role.ADMIN, raises=[OrderNotFound, OrderNotPending, PaymentInProgress, InsufficientStock])


@api.put("/admin/orders/<order_id>/status", responses={200: described("The order, settled.")})
def override_order_status(order_id: str, body: OverrideRequest) -> OrderStatusView:
    """Confirm the order, which takes its stock, or cancel it."""
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


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The function's entry point."""
    return api.resolve(event, context)


started(client, rehearsal=lambda: orders.get(NO_ORDER))
