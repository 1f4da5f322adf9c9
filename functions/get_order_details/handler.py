"""`GET /admin/orders/{orderId}`: an admin reads an order with its refunds and its history."""

from order_payments.composition import Components

from order_payments.api.order_details_view import OrderDetailsView
from order_payments.api.resolver import Api
from order_payments.api.responses import success
from order_payments.api.routes import route_of
from order_payments.domain.errors import OrderNotFound
from order_payments.domain.orders import NO_ORDER

components = Components()
orders = components.orders
api = Api(route_of("get_order_details"), raises=[OrderNotFound])


@api.endpoint(responses={200: success("The order, its refunds and its history.")})
def get_order_details(order_id: str) -> OrderDetailsView:
    """Return the order, what can still be refunded, and what happened to it."""
    return OrderDetailsView.of(orders.get(order_id))


handler = api.resolve
components.finish_start(warm_up=lambda: orders.get(NO_ORDER))
