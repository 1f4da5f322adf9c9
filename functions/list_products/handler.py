"""`GET /products`: the catalogue, with what there is of each product."""

from order_payments.runtime.start_up import started

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from order_payments.api.resolver import DEFAULT_LIMIT, Api, Cursor, Limit, described
from order_payments.api.views import ProductsView, ProductView
from order_payments.domain.products import is_product_id
from order_payments.runtime.settings import TableSettings
from order_payments.storage.dynamodb import dynamodb_client
from order_payments.storage.paging import Cursors
from order_payments.storage.products_table import ProductsTable

client = dynamodb_client()
products = ProductsTable(client, TableSettings.from_environment().products_table)
cursors = Cursors("products", key=(is_product_id,))
api = Api()


@api.get("/products", responses={200: described("A page of products.")})
def list_products(limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> ProductsView:
    """List the products, in no particular order."""
    caller_id = api.caller.user_id
    page = products.page(limit=limit, after=cursors.position(cursor, caller_id))
    return ProductsView(
        products=[ProductView.of(product) for product in page.entries], cursor=cursors.cursor(page, caller_id)
    )


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The function's entry point."""
    return api.resolve(event, context)


started(client, rehearsal=lambda: products.page(limit=1, after=None))
