"""`GET /products/{productId}`: a product and its stock, for any signed-in user."""

from order_payments.composition import Components

from aws_lambda_powertools.event_handler import Response

from order_payments.api.entity_tags import product_response
from order_payments.api.resolver import Api
from order_payments.api.responses import success
from order_payments.api.routes import route_of
from order_payments.api.views import ProductView
from order_payments.domain.errors import ProductNotFound

components = Components()
products = components.products
api = Api(route_of("get_product"), raises=[ProductNotFound])


@api.endpoint(responses={200: success("The product.", "ETag")})
def get_product(product_id: str) -> Response[ProductView]:
    """Return the product."""
    return product_response(products.get(product_id))


handler = api.resolve
components.finish_start(warm_up=lambda: products.get("nothing"))
