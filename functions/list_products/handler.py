"""`GET /products`: the catalogue, with the stock of each product."""

from order_payments.composition import Components

from order_payments.api.parameters import DEFAULT_LIMIT, Cursor, Limit
from order_payments.api.resolver import Api
from order_payments.api.responses import success
from order_payments.api.routes import route_of
from order_payments.api.views import ProductsView, ProductView
from order_payments.domain.products import is_product_id
from order_payments.storage.paging import Cursors

components = Components()
products = components.products
cursors = Cursors("products", key=(is_product_id,))
api = Api(route_of("list_products"))


@api.endpoint(responses={200: success("A page of products.")})
def list_products(limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> ProductsView:
    """List the products, in no particular order."""
    caller_id = api.caller.user_id
    page = products.page(limit=limit, after=cursors.position(cursor, caller_id))
    return ProductsView(
        products=[ProductView.of(product) for product in page.entries], cursor=cursors.cursor(page, caller_id)
    )


handler = api.resolve
components.finish_start(warm_up=lambda: products.page(limit=1, after=None))
