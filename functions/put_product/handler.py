"""`PUT /admin/products/{productId}`: an admin creates a product, or sets its name, price and stock."""

from order_payments.start_up import started

from typing import Annotated, Any

from aws_lambda_powertools.event_handler.openapi.params import Path
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import AfterValidator, Field

from order_payments.api import Api, described
from order_payments.dynamodb import dynamodb_client
from order_payments.errors import InvalidRequest, ProductNotFound, StockBelowReserved
from order_payments.identity import Role
from order_payments.money import CURRENCIES, MAXIMUM_AMOUNT, is_currency, price_fault
from order_payments.observability import logger
from order_payments.products import PRODUCT_ID_PATTERN
from order_payments.products_table import ProductsTable
from order_payments.settings import TableSettings
from order_payments.text import LINE_OF_TEXT
from order_payments.views import ProductView, RequestBody

MAXIMUM_STOCK = 1_000_000_000


def _chargeable(currency: str) -> str:
    if not is_currency(currency):
        raise ValueError("Input should be a lower-case ISO 4217 currency that Stripe charges in")
    return currency


class ProductRequest(RequestBody):
    """A product as it shall be. `unitPrice` is in the minor unit of `currency`."""

    name: Annotated[str, Field(max_length=200, pattern=LINE_OF_TEXT, examples=["Green tea"])]
    unit_price: Annotated[int, Field(strict=True, ge=1, le=MAXIMUM_AMOUNT, examples=[4599])]
    currency: Annotated[str, AfterValidator(_chargeable), Field(json_schema_extra={"enum": sorted(CURRENCIES)})]
    stock: Annotated[int, Field(strict=True, ge=0, le=MAXIMUM_STOCK, examples=[25])]


client = dynamodb_client()
products = ProductsTable(client, TableSettings.from_environment().products_table)
api = Api(Role.ADMIN, raises=[ProductNotFound, StockBelowReserved])


@api.put("/admin/products/<product_id>", responses={200: described("The product as it is now.")})
def put_product(product_id: Annotated[str, Path(pattern=PRODUCT_ID_PATTERN)], body: ProductRequest) -> ProductView:
    """Create or change the product. What payments in flight hold of it stays held."""
    if fault := price_fault(body.unit_price, body.currency):
        raise InvalidRequest(fault, location=("body", "unitPrice"))
    product = products.put(
        product_id, name=body.name, unit_price=body.unit_price, currency=body.currency, stock=body.stock
    )
    logger.info("product put", productId=product_id, stock=product.stock, by=api.caller.user_id)
    return ProductView.of(product)


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The function's entry point."""
    return api.resolve(event, context)


started(client, rehearsal=lambda: products.get("nothing"))
