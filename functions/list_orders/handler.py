"""`GET /orders`: a buyer's own orders, the newest first."""

from order_payments.runtime.start_up import started

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from order_payments.api.resolver import DEFAULT_LIMIT, Api, Cursor, Limit, described
from order_payments.api.views import OrdersView, OrderView
from order_payments.domain.identity import Role
from order_payments.domain.orders import is_order_id
from order_payments.runtime.clock import is_rfc3339
from order_payments.runtime.settings import TableSettings
from order_payments.storage.dynamodb import dynamodb_client
from order_payments.storage.orders_table import OrdersTable
from order_payments.storage.paging import Cursors
from order_payments.storage.products_table import ProductsTable

settings = TableSettings.from_environment()
client = dynamodb_client()
orders = OrdersTable(client, settings.orders_table, ProductsTable(client, settings.products_table))
cursors = Cursors("orders", key=(is_rfc3339, is_order_id))
api = Api(Role.BUYER)


@api.get("/orders", responses={200: described("A page of the caller's orders.")})
def list_orders(limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> OrdersView:
    """List the caller's orders, the newest first."""
    buyer_id = api.caller.user_id
    page = orders.page_of_buyer(buyer_id, limit=limit, after=cursors.position(cursor, buyer_id))
    return OrdersView(orders=[OrderView.of(order) for order in page.entries], cursor=cursors.cursor(page, buyer_id))


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The function's entry point."""
    return api.resolve(event, context)


started(client, rehearsal=lambda: orders.page_of_buyer("nobody", limit=1, after=None))
