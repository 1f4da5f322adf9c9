"""Problem responses: the HTTP status, code and title of every error (RFC 9457)."""

import json
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple

from aws_lambda_powertools.event_handler import Response
from pydantic.alias_generators import to_camel

from order_payments.api.requests import InvalidQuery, RequestTooLarge, Unauthenticated, UnsupportedEncoding
from order_payments.api.responses import PENDING_RETRY_AFTER_SECONDS, REPLAYED_HEADER
from order_payments.api.views import FaultView, OrderStatusView, ProblemView
from order_payments.domain import errors
from order_payments.domain.errors import OrderPaymentError
from order_payments.domain.orders import Order

PROBLEM_TYPE_PREFIX = "urn:problem-type:order-payments:"


class ProblemType(NamedTuple):
    """Type of a problem: HTTP status, stable code for programs, and title."""

    status: HTTPStatus
    code: str
    title: str


INTERNAL_ERROR = ProblemType(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "Internal error")
NOT_FOUND = ProblemType(HTTPStatus.NOT_FOUND, "not_found", "Not found")
INVALID_REQUEST = ProblemType(HTTPStatus.UNPROCESSABLE_ENTITY, "validation_error", "Invalid request")

PROBLEM_TYPES: Mapping[type[Exception], ProblemType] = {
    Unauthenticated: ProblemType(HTTPStatus.UNAUTHORIZED, "unauthorized", "Unauthorized"),
    errors.Forbidden: ProblemType(HTTPStatus.FORBIDDEN, "forbidden", "Forbidden"),
    errors.InvalidSignature: ProblemType(HTTPStatus.BAD_REQUEST, "invalid_signature", "Invalid signature"),
    errors.InvalidRequest: INVALID_REQUEST,
    errors.InvalidCursor: INVALID_REQUEST,
    InvalidQuery: INVALID_REQUEST,
    RequestTooLarge: ProblemType(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request_too_large", "Request too large"),
    UnsupportedEncoding: ProblemType(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", "Unsupported encoding"),
    errors.OrderNotFound: ProblemType(HTTPStatus.NOT_FOUND, "order_not_found", "Order not found"),
    errors.ProductNotFound: ProblemType(HTTPStatus.NOT_FOUND, "product_not_found", "Product not found"),
    errors.UnknownProduct: ProblemType(HTTPStatus.UNPROCESSABLE_ENTITY, "unknown_product", "Unknown product"),
    errors.MixedCurrencies: ProblemType(HTTPStatus.UNPROCESSABLE_ENTITY, "mixed_currencies", "Mixed currencies"),
    errors.StockBelowReserved: ProblemType(HTTPStatus.CONFLICT, "stock_below_reserved", "Stock below reserved units"),
    errors.PreconditionFailed: ProblemType(
        HTTPStatus.PRECONDITION_FAILED, "precondition_failed", "Precondition failed"
    ),
    errors.PaymentAlreadyAttempted: ProblemType(
        HTTPStatus.CONFLICT, "payment_already_attempted", "Payment already attempted"
    ),
    errors.PaymentInProgress: ProblemType(HTTPStatus.CONFLICT, "payment_in_progress", "Payment in progress"),
    errors.OrderNotPending: ProblemType(HTTPStatus.CONFLICT, "order_not_pending", "Order not pending"),
    errors.NotRefundable: ProblemType(HTTPStatus.CONFLICT, "not_refundable", "Not refundable"),
    errors.RefundTooLarge: ProblemType(HTTPStatus.CONFLICT, "refund_too_large", "Refund too large"),
    errors.IdempotencyKeyReused: ProblemType(HTTPStatus.CONFLICT, "idempotency_key_reused", "Idempotency key reused"),
    errors.InsufficientStock: ProblemType(HTTPStatus.UNPROCESSABLE_ENTITY, "insufficient_stock", "Insufficient stock"),
    errors.TooManyAttempts: ProblemType(HTTPStatus.CONFLICT, "too_many_attempts", "Too many attempts"),
    errors.OrderExpired: ProblemType(HTTPStatus.CONFLICT, "order_expired", "Order expired"),
    errors.PaymentFailed: ProblemType(HTTPStatus.PAYMENT_REQUIRED, "payment_failed", "Payment failed"),
    errors.InvalidPaymentMethod: ProblemType(
        HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_payment_method", "Invalid payment method"
    ),
    errors.AmountNotChargeable: ProblemType(
        HTTPStatus.UNPROCESSABLE_ENTITY, "amount_not_chargeable", "Amount not chargeable"
    ),
    errors.PaymentProviderError: ProblemType(
        HTTPStatus.BAD_GATEWAY, "payment_provider_error", "Payment provider error"
    ),
    errors.Busy: ProblemType(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "Busy"),
}
"""Problem type of each error. The gateway's own responses, in `template.yaml`, have the same form."""


def problem(
    problem_type: ProblemType,
    detail: str,
    *,
    request_id: str,
    faults: Iterable[FaultView] = (),
    order: Order | None = None,
) -> Response[str]:
    """Return a problem response. `faults` lists the faults of the request; `order` is the order concerned."""
    view = ProblemView(
        type=PROBLEM_TYPE_PREFIX + problem_type.code,
        title=problem_type.title,
        status=problem_type.status,
        detail=detail,
        code=problem_type.code,
        request_id=request_id,
        errors=list(faults) or None,
        order=OrderStatusView.of(order) if order else None,
    )
    body = json.dumps(view.to_json(), separators=(",", ":"))  # as Powertools writes success bodies
    return Response(problem_type.status, content_type="application/problem+json", body=body)


def problem_of(error: OrderPaymentError, request_id: str) -> Response[str]:
    """Return the response for an error. A replayed error has the id of the request that first caused it."""
    attempt = error.order.attempt if error.order and error.replayed else None
    response = problem(
        PROBLEM_TYPES[type(error)],
        str(error),
        request_id=(attempt.request_id if attempt else None) or request_id,
        faults=_faults_of(error),
        order=error.order,
    )
    if error.replayed:
        response.headers[REPLAYED_HEADER] = "true"
    match error:
        case errors.Busy():
            response.headers["Retry-After"] = str(error.retry_after_seconds)
        case errors.PaymentInProgress():
            response.headers["Retry-After"] = str(PENDING_RETRY_AFTER_SECONDS)
        case Unauthenticated():
            response.headers["WWW-Authenticate"] = "Bearer"
        case UnsupportedEncoding():
            response.headers["Accept-Encoding"] = "identity"  # RFC 9110, section 15.5.16
    return response


def _faults_of(error: OrderPaymentError) -> Sequence[FaultView]:
    match error:
        case errors.InvalidRequest():
            return [FaultView(location=["body", to_camel(error.field)], message=str(error))]
        case errors.InvalidCursor():
            return [FaultView(location=["query", "cursor"], message=str(error))]
        case InvalidQuery():
            return [FaultView(location=["query", error.parameter], message=str(error))]
        case errors.UnknownProduct():
            return [
                FaultView(location=["body", "items", line, "productId"], message=f"There is no product {name}.")
                for line, name in error.lines
            ]
        case errors.InsufficientStock():
            return [
                FaultView(
                    location=["products", short.product_id],
                    message=f"{short.requested} of {short.product_id} ordered, {short.available} available.",
                )
                for short in error.shortages
            ]
    return []
