"""`POST /orders/{orderId}/payment`: a buyer pays for an order. An order has one payment attempt."""

from order_payments.composition import Components

from http import HTTPStatus
from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from pydantic import Field

from order_payments import payments
from order_payments.api.parameters import IdempotencyKey
from order_payments.api.resolver import Api
from order_payments.api.responses import PENDING_RETRY_AFTER_SECONDS, REPLAYED_HEADER, success
from order_payments.api.routes import route_of
from order_payments.api.views import OrderStatusView, RequestBody
from order_payments.domain import errors
from order_payments.domain.orders import NO_ORDER, OrderStatus
from order_payments.runtime.settings import OrderSettings


class PaymentBody(RequestBody):
    """The payment method: the id of a Stripe PaymentMethod."""

    payment_method_id: Annotated[str, Field(min_length=1, max_length=255, examples=["pm_card_visa"])] = "pm_card_visa"


DEFAULT_PAYMENT = PaymentBody()

order_settings = OrderSettings.from_environment()
components = Components()
orders = components.orders
stripe = components.stripe
api = Api(
    route_of("initiate_payment"),
    raises=[
        errors.OrderNotFound,
        errors.Forbidden,
        errors.PaymentFailed,
        errors.InsufficientStock,
        errors.InvalidPaymentMethod,
        errors.AmountNotChargeable,
        errors.PaymentProviderError,
        errors.PaymentAlreadyAttempted,
        errors.PaymentInProgress,
        errors.TooManyAttempts,
        errors.OrderExpired,
    ],
)


@api.endpoint(
    responses={
        200: success("Paid: the order is `confirmed` and the stock reduced.", REPLAYED_HEADER),
        202: success(
            "The outcome is not known yet. The order stays `pending` and is settled within minutes.",
            "Location",
            "Retry-After",
        ),
    },
)
def initiate_payment(
    order_id: str,
    body: PaymentBody = DEFAULT_PAYMENT,
    idempotency_key: IdempotencyKey = None,
) -> Response[OrderStatusView]:
    """Pay the order. Return the outcome: confirmed, or pending while Stripe's result is unknown."""
    result = payments.initiate_payment(
        payments.PaymentRequest(
            order_id, api.caller.user_id, body.payment_method_id, idempotency_key, request_id=api.request_id
        ),
        valid_for=order_settings.valid_for,
        orders=orders,
        stripe=stripe,
        deadline=api.deadline,
    )
    response = Response(HTTPStatus.OK, content_type="application/json", body=OrderStatusView.of(result.order))
    if result.replayed:
        response.headers[REPLAYED_HEADER] = "true"
    if result.order.status is OrderStatus.PENDING:
        response.status_code = HTTPStatus.ACCEPTED
        response.headers["Retry-After"] = str(PENDING_RETRY_AFTER_SECONDS)
        response.headers["Location"] = api.location(f"/orders/{order_id}/status")
    return response


handler = api.resolve
components.finish_start(warm_up=lambda: orders.get(NO_ORDER))
