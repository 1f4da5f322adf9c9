"""`POST /orders/{orderId}/payment`: the buyer pays an order of theirs, once."""

from order_payments.runtime.start_up import started

from http import HTTPStatus
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from order_payments import payments
from order_payments.api.resolver import REPLAYED_HEADER, UNKNOWN_RETRY_AFTER_SECONDS, Api, IdempotencyKey, described
from order_payments.api.views import OrderStatusView, RequestBody
from order_payments.domain.errors import (
    AmountNotChargeable,
    Forbidden,
    InsufficientStock,
    InvalidPaymentMethod,
    OrderNotFound,
    PaymentAlreadyAttempted,
    PaymentFailed,
    PaymentInProgress,
    PaymentProviderError,
    TooManyAttempts,
)
from order_payments.domain.identity import Role
from order_payments.domain.orders import NO_ORDER, OrderStatus
from order_payments.runtime.settings import StripeSettings, TableSettings
from order_payments.storage.dynamodb import dynamodb_client
from order_payments.storage.orders_table import OrdersTable
from order_payments.storage.products_table import ProductsTable
from order_payments.stripe_adapter.gateway import stripe_gateway


class PaymentBody(RequestBody):
    """How to pay: the id of a Stripe PaymentMethod."""

    payment_method_id: Annotated[str, Field(min_length=1, max_length=255, examples=["pm_card_visa"])] = "pm_card_visa"


DEFAULT_PAYMENT = PaymentBody()

settings = TableSettings.from_environment()
stripe_settings = StripeSettings.from_environment()
client = dynamodb_client()
orders = OrdersTable(client, settings.orders_table, ProductsTable(client, settings.products_table))
stripe = stripe_gateway(stripe_settings, client)
api = Api(
    Role.BUYER,
    raises=[
        OrderNotFound,
        Forbidden,
        PaymentFailed,
        InsufficientStock,
        InvalidPaymentMethod,
        AmountNotChargeable,
        PaymentProviderError,
        PaymentAlreadyAttempted,
        PaymentInProgress,
        TooManyAttempts,
    ],
)


@api.post(
    "/orders/<order_id>/payment",
    responses={
        200: described("Paid: the order is `confirmed` and the stock reduced.", REPLAYED_HEADER),
        202: described(
            "The outcome is not known yet. The order is `pending` and settled within minutes.",
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
        orders=orders,
        stripe=stripe,
        deadline=api.deadline,
    )
    response = Response(HTTPStatus.OK, content_type="application/json", body=OrderStatusView.of(result.order))
    if result.replayed:
        response.headers[REPLAYED_HEADER] = "true"
    if result.order.status is OrderStatus.PENDING:
        response.status_code = HTTPStatus.ACCEPTED
        response.headers["Retry-After"] = str(UNKNOWN_RETRY_AFTER_SECONDS)
        response.headers["Location"] = api.location(f"/orders/{order_id}/status")
    return response


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The function's entry point."""
    return api.resolve(event, context)


started(client, rehearsal=lambda: orders.get(NO_ORDER))
