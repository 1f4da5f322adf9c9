"""`POST /admin/orders/{orderId}/refunds`: an admin returns the charge of an order, in part or in full."""

from order_payments.composition import Components

from http import HTTPStatus
from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from pydantic import AfterValidator, Field

from order_payments.api.parameters import IdempotencyKey
from order_payments.api.refund_views import RefundView
from order_payments.api.resolver import Api
from order_payments.api.responses import PENDING_RETRY_AFTER_SECONDS, REPLAYED_HEADER, success
from order_payments.api.routes import route_of
from order_payments.api.views import RequestBody
from order_payments.domain.errors import IdempotencyKeyReused, NotRefundable, OrderNotFound, RefundTooLarge
from order_payments.domain.money import MAXIMUM_AMOUNT
from order_payments.domain.orders import MAXIMUM_PRODUCTS, NO_ORDER
from order_payments.domain.products import MAXIMUM_STOCK
from order_payments.domain.refunds import RefundStatus, staff_refund_id
from order_payments.domain.text import LINE_OF_TEXT
from order_payments.refunds import RefundRequest, request_refund


class RestockRequest(RequestBody):
    """Units of a product of the order that go back on the shelf."""

    product_id: Annotated[str, Field(min_length=1, max_length=64, examples=["green-tea"])]
    quantity: Annotated[int, Field(strict=True, ge=1, le=MAXIMUM_STOCK, examples=[1])]


def _require_different_products(lines: tuple[RestockRequest, ...]) -> tuple[RestockRequest, ...]:
    if len({line.product_id for line in lines}) < len(lines):
        raise ValueError("List should name each product once")
    return lines


class RefundOrderRequest(RequestBody):
    """The amount in the order's currency, all that is left of the charge if it is absent, and the reason."""

    # Not `int | None`: a `null` must not be a full refund by mistake. pydantic does not validate the default.
    amount: Annotated[int, Field(strict=True, ge=1, le=MAXIMUM_AMOUNT, examples=[1000])] = None  # type: ignore[assignment]
    reason: Annotated[str, Field(max_length=500, pattern=LINE_OF_TEXT, examples=["One cup was broken."])]
    restock: Annotated[
        tuple[RestockRequest, ...], Field(max_length=MAXIMUM_PRODUCTS), AfterValidator(_require_different_products)
    ] = ()


components = Components()
orders = components.orders
stripe = components.stripe
api = Api(route_of("refund_order"), raises=[OrderNotFound, NotRefundable, RefundTooLarge, IdempotencyKeyReused])


@api.endpoint(
    status_code=HTTPStatus.CREATED,
    responses={
        201: success("The refund, which is `succeeded`.", REPLAYED_HEADER),
        202: success("The refund, which is `pending`.", "Retry-After", REPLAYED_HEADER),
    },
)
def refund_order(
    order_id: str, body: RefundOrderRequest, idempotency_key: IdempotencyKey = None
) -> Response[RefundView]:
    """Refund the charge once, and put returned units back on the shelf. A repeated request returns the same refund."""
    admin_id = api.caller.user_id
    result = request_refund(
        RefundRequest(
            order_id,
            staff_refund_id(order_id, admin_id, idempotency_key),
            body.amount,
            body.reason,
            tuple((line.product_id, line.quantity) for line in body.restock),
            by=admin_id,
            request_id=api.request_id,
        ),
        orders=orders,
        stripe=stripe,
        deadline=api.deadline,
    )
    is_pending = result.refund.status in (RefundStatus.OWED, RefundStatus.PENDING)
    response = Response(
        HTTPStatus.ACCEPTED if is_pending else HTTPStatus.CREATED,
        content_type="application/json",
        body=RefundView.of_order(result.order, result.refund),
    )
    if is_pending:
        response.headers["Retry-After"] = str(PENDING_RETRY_AFTER_SECONDS)
    if result.replayed:
        response.headers[REPLAYED_HEADER] = "true"
    return response


handler = api.resolve
components.finish_start(warm_up=lambda: orders.get(NO_ORDER))
