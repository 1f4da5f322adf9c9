"""`PUT /admin/products/{productId}`: an admin creates a product, or updates its name, price and optional stock."""

from order_payments.composition import Components

from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Path
from pydantic import AfterValidator, Field

from order_payments.api.entity_tags import IfMatch, IfNoneMatch, meets_preconditions, product_response
from order_payments.api.resolver import Api
from order_payments.api.responses import success
from order_payments.api.routes import route_of
from order_payments.api.views import ProductView, RequestBody
from order_payments.audit.tables import Held
from order_payments.domain.errors import InvalidRequest, PreconditionFailed, ProductNotFound, StockBelowReserved
from order_payments.domain.money import CURRENCIES, MAXIMUM_AMOUNT, is_currency, price_fault
from order_payments.domain.products import MAXIMUM_NAME_LENGTH, MAXIMUM_STOCK, PRODUCT_ID_PATTERN, Product
from order_payments.domain.text import LINE_OF_TEXT
from order_payments.runtime.observability import logger


def _require_chargeable(currency: str) -> str:
    if not is_currency(currency):
        raise ValueError("Input should be a lower-case ISO 4217 currency that Stripe charges in")
    return currency


class ProductRequest(RequestBody):
    """The product. `unitPrice` is in the minor unit of `currency`. Without `stock`, the stored stock is unchanged."""

    name: Annotated[str, Field(max_length=MAXIMUM_NAME_LENGTH, pattern=LINE_OF_TEXT, examples=["Green tea"])]
    unit_price: Annotated[int, Field(strict=True, ge=1, le=MAXIMUM_AMOUNT, examples=[4599])]
    currency: Annotated[str, AfterValidator(_require_chargeable), Field(json_schema_extra={"enum": sorted(CURRENCIES)})]
    # Optional, but never null. The schema does not show the default of a factory.
    stock: Annotated[int, Field(default_factory=int, strict=True, ge=0, le=MAXIMUM_STOCK, examples=[25])]

    @property
    def given_stock(self) -> int | None:
        """The stock, or None if the request has none."""
        return self.stock if "stock" in self.model_fields_set else None


components = Components()
products = components.products
tables = components.audited_tables
api = Api(route_of("put_product"), raises=[ProductNotFound, PreconditionFailed, StockBelowReserved])


@api.endpoint(responses={200: success("The stored product.", "ETag")})
def put_product(
    product_id: Annotated[str, Path(pattern=PRODUCT_ID_PATTERN)],
    body: ProductRequest,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response[ProductView]:
    """Create or update the product. Units that payments in flight hold stay held."""
    if fault := price_fault(body.unit_price, body.currency):
        raise InvalidRequest(fault, field="unit_price")

    def is_wanted(product: Product | None) -> bool:
        return meets_preconditions(product, if_match=if_match, if_none_match=if_none_match)

    product = products.put(
        product_id,
        name=body.name,
        unit_price=body.unit_price,
        currency=body.currency,
        stock=body.given_stock,
        precondition=None if if_match is None and if_none_match is None else is_wanted,
        count_held=lambda product_id: tables.count_listed_holds().get(product_id, Held()).units,
    )
    logger.info("product saved", productId=product_id, stock=product.stock, by=api.caller.user_id)
    return product_response(product)


handler = api.resolve
components.finish_start(warm_up=lambda: products.get("nothing"))
