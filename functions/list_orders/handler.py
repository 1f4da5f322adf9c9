"""`GET /orders`: a buyer's own orders, newest first."""

from order_payments.composition import Components

from order_payments.api.parameters import DEFAULT_LIMIT, Cursor, Limit
from order_payments.api.resolver import Api
from order_payments.api.responses import success
from order_payments.api.routes import route_of
from order_payments.api.views import OrdersView, OrderView
from order_payments.domain.orders import is_order_id
from order_payments.runtime.clock import is_rfc3339
from order_payments.storage.order_pages import OrderFilter
from order_payments.storage.paging import Cursors

components = Components()
pages = components.order_pages
cursors = Cursors("orders", key=(is_rfc3339, is_order_id))
api = Api(route_of("list_orders"))


@api.endpoint(responses={200: success("A page of the caller's orders.")})
def list_orders(limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> OrdersView:
    """List the caller's orders, newest first."""
    buyer_id = api.caller.user_id
    page = pages.page(OrderFilter(buyer_id), limit=limit, after=cursors.position(cursor, buyer_id))
    return OrdersView(orders=[OrderView.of(order) for order in page.entries], cursor=cursors.cursor(page, buyer_id))


handler = api.resolve
components.finish_start(warm_up=lambda: pages.page(OrderFilter("none"), limit=1, after=None))
