"""`POST /admin/products/{productId}/stock-adjustments`: an admin adds units to a product's stock or removes some."""

from order_payments.composition import Components

from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from pydantic import AfterValidator, Field

from order_payments.api.entity_tags import product_response
from order_payments.api.parameters import IdempotencyKey
from order_payments.api.resolver import Api
from order_payments.api.responses import REPLAYED_HEADER, success
from order_payments.api.routes import route_of
from order_payments.api.views import ProductView, RequestBody
from order_payments.domain.errors import IdempotencyKeyReused, ProductNotFound, StockBelowReserved
from order_payments.domain.products import MAXIMUM_STOCK
from order_payments.domain.text import LINE_OF_TEXT
from order_payments.runtime.clock import utc_now
from order_payments.runtime.observability import logger
from order_payments.storage.stock_adjustments_table import StockAdjustment, adjustment_id_for


def _require_nonzero(change: int) -> int:
    if change == 0:
        raise ValueError("Input should not be zero")
    return change


class StockAdjustmentRequest(RequestBody):
    """The units to add or, if negative, to remove, and the reason. Both are recorded."""

    change: Annotated[
        int,
        AfterValidator(_require_nonzero),
        Field(strict=True, ge=-MAXIMUM_STOCK, le=MAXIMUM_STOCK, examples=[-3], json_schema_extra={"not": {"const": 0}}),
    ]
    reason: Annotated[str, Field(max_length=500, pattern=LINE_OF_TEXT, examples=["Damaged in the warehouse."])]


components = Components()
products = components.products
adjustments = components.stock_adjustments
api = Api(route_of("adjust_stock"), raises=[ProductNotFound, StockBelowReserved, IdempotencyKeyReused])


@api.endpoint(
    responses={200: success("The product with its new stock.", "ETag", REPLAYED_HEADER)},
)
def adjust_stock(
    product_id: str, body: StockAdjustmentRequest, idempotency_key: IdempotencyKey = None
) -> Response[ProductView]:
    """Change the stock by `change` units. Units that payments in flight hold cannot be removed."""
    admin_id = api.caller.user_id
    adjustment = StockAdjustment(
        adjustment_id_for(admin_id, idempotency_key),
        product_id,
        body.change,
        body.reason,
        by=admin_id,
        at=utc_now(),
        request_id=api.request_id,
    )
    applied = adjustments.apply(adjustment, deadline=api.deadline)
    if applied.replayed:
        return product_response(applied.product, {REPLAYED_HEADER: "true"})
    logger.info(
        "stock adjusted",
        adjustmentId=adjustment.adjustment_id,
        productId=product_id,
        change=body.change,
        stock=applied.product.stock,
        by=adjustment.by,
        reason=body.reason,
    )
    return product_response(applied.product)


handler = api.resolve
components.finish_start(warm_up=lambda: products.get("nothing"))
