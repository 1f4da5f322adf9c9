"""`GET /admin/orders`: the orders of all buyers, newest first."""

from order_payments.composition import Components

from order_payments.api.order_filters import BuyerId, PlacedFrom, PlacedTo, Status, order_filter
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
cursors = Cursors("all orders", key=(is_rfc3339, is_order_id))
api = Api(route_of("list_all_orders"))


@api.endpoint(responses={200: success("A page of the orders of all buyers.")})
def list_all_orders(
    status: Status = None,
    buyer_id: BuyerId = None,
    placed_from: PlacedFrom = None,
    placed_to: PlacedTo = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> OrdersView:
    """List the orders of all buyers, newest first. A page reads `limit` orders, so with `status` it may be empty."""
    admin_id = api.caller.user_id
    wanted = order_filter(buyer_id, status, placed_from, placed_to)
    page = pages.page(wanted, limit=limit, after=cursors.position(cursor, admin_id, *wanted))
    return OrdersView(
        orders=[OrderView.of(order) for order in page.entries], cursor=cursors.cursor(page, admin_id, *wanted)
    )


handler = api.resolve
components.finish_start(warm_up=lambda: pages.page(OrderFilter("none"), limit=1, after=None))
