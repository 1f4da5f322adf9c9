"""`GET /orders/{orderId}/status`: the status of an order, for its buyer and for admins."""

from order_payments.composition import Components

from order_payments.api.resolver import Api
from order_payments.api.responses import success
from order_payments.api.routes import route_of
from order_payments.api.views import OrderStatusView
from order_payments.domain.errors import Forbidden, OrderNotFound
from order_payments.domain.identity import Role
from order_payments.domain.orders import NO_ORDER

components = Components()
orders = components.orders
api = Api(route_of("get_order_status"), raises=[OrderNotFound, Forbidden])


@api.endpoint(responses={200: success("The order's status.")})
def get_order_status(order_id: str) -> OrderStatusView:
    """Return the order's status."""
    order = orders.get(order_id)
    if Role.ADMIN not in api.caller.roles and order.buyer_id != api.caller.user_id:
        raise Forbidden("The order belongs to another buyer.")
    return OrderStatusView.of(order)


handler = api.resolve
components.finish_start(warm_up=lambda: orders.get(NO_ORDER))
