"""`GET /products/{productId}`: a product and its stock, for any signed-in user."""

from order_payments.runtime.start_up import started

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from order_payments.api.entity_tags import product_response
from order_payments.api.resolver import Api, described
from order_payments.api.views import ProductView
from order_payments.domain.errors import ProductNotFound
from order_payments.runtime.settings import TableSettings
from order_payments.storage.dynamodb import dynamodb_client
from order_payments.storage.products_table import ProductsTable

client = dynamodb_client()
products = ProductsTable(client, TableSettings.from_environment().products_table)
api = Api(raises=[ProductNotFound])


@api.get("/products/<product_id>", responses={200: described("The product.", "ETag")})
def get_product(product_id: str) -> Response[ProductView]:
    """Read the product."""
    return product_response(products.get(product_id))


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The function's entry point."""
    return api.resolve(event, context)


started(client, rehearsal=lambda: products.get("nothing"))
