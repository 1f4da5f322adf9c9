"""`GET /admin/orders/{orderId}/refunds`: an admin reads the refunds of an order."""

from order_payments.composition import Components

from order_payments.api.refund_views import RefundsView, RefundView
from order_payments.api.resolver import Api
from order_payments.api.responses import success
from order_payments.api.routes import route_of
from order_payments.domain.errors import OrderNotFound
from order_payments.domain.orders import NO_ORDER

components = Components()
orders = components.orders
api = Api(route_of("list_refunds"), raises=[OrderNotFound])


@api.endpoint(responses={200: success("The refunds, oldest first.")})
def list_refunds(order_id: str) -> RefundsView:
    """Return all refunds of the order, also those that failed or were made at Stripe."""
    return RefundsView(refunds=RefundView.of_all(orders.get(order_id)))


handler = api.resolve
components.finish_start(warm_up=lambda: orders.get(NO_ORDER))
