"""`GET /orders/{orderId}/status`: how an order stands, for its buyer and for admins."""

from order_payments.runtime.start_up import started

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from order_payments.api.resolver import Api, described
from order_payments.api.views import OrderStatusView
from order_payments.domain.errors import Forbidden, OrderNotFound
from order_payments.domain.identity import Role
from order_payments.domain.orders import NO_ORDER
from order_payments.runtime.settings import TableSettings
from order_payments.storage.dynamodb import dynamodb_client
from order_payments.storage.orders_table import OrdersTable
from order_payments.storage.products_table import ProductsTable

settings = TableSettings.from_environment()
client = dynamodb_client()
orders = OrdersTable(client, settings.orders_table, ProductsTable(client, settings.products_table))
api = Api(Role.BUYER, Role.ADMIN, raises=[OrderNotFound, Forbidden])


@api.get("/orders/<order_id>/status", responses={200: described("How the order stands.")})
def get_order_status(order_id: str) -> OrderStatusView:
    """Read the order's status."""
    order = orders.get(order_id)
    if Role.ADMIN not in api.caller.roles and order.buyer_id != api.caller.user_id:
        raise Forbidden("This order is somebody else's.")
    return OrderStatusView.of(order)


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The function's entry point."""
    return api.resolve(event, context)


started(client, rehearsal=lambda: orders.get(NO_ORDER))
