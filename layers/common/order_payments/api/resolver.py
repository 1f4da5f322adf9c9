"""The HTTP edge: a request in, who is calling, and an answer out; the only module that knows HTTP.

Each function serves one route with an `Api`, which is Powertools' resolver with our rules built in.
"""

import json
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.compat import is_scalar_field
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from aws_lambda_powertools.event_handler.openapi.params import Header, Query
from pydantic import BeforeValidator
from pydantic.alias_generators import to_camel
from pydantic_core import from_json

from order_payments.api.views import FaultView, OrderStatusView, ProblemView
from order_payments.domain import errors
from order_payments.domain.errors import OrderPaymentError
from order_payments.domain.identity import Caller, Role
from order_payments.domain.orders import Order
from order_payments.runtime.clock import Deadline, utc_now
from order_payments.runtime.observability import Count, count, logger, write_metrics
from order_payments.runtime.settings import CorsSettings

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse, OpenAPIResponseHeader
    from aws_lambda_powertools.utilities.typing import LambdaContext

PROBLEM_TYPE_PREFIX = "urn:problem-type:order-payments:"
MAXIMUM_BODY_BYTES = 256 * 1024
"""Above the largest order and the largest event of Stripe's."""

UNKNOWN_RETRY_AFTER_SECONDS = 5

REPLAYED_HEADER = "Idempotent-Replayed"

_OF_THE_KEY = "Of your choice. The same request under the same key is done once and answered alike."
IdempotencyKey = Annotated[
    str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255, description=_OF_THE_KEY)
]
"""The parameter of an endpoint that answers a repeated request as it did the first time."""

HEADERS: "Mapping[str, OpenAPIResponseHeader]" = {
    "Location": {"description": "Path of the order's status.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds after which to ask again.", "schema": {"type": "integer"}},
    "ETag": {
        "description": "Strong entity tag of the product, for `If-Match`. It changes with any field, stock included.",
        "schema": {"type": "string"},
    },
    REPLAYED_HEADER: {
        "description": "`true` where the same request was answered before and nothing was done again.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}
"""The headers of our answers, as OpenAPI describes them."""
EXPOSED_HEADERS = (*HEADERS, "WWW-Authenticate", "x-amzn-RequestId")
"""The response headers that a web page may read (CORS)."""


def _digits(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"[1-9][0-9]{0,8}", value):
        raise ValueError("Input should be a whole number, in digits alone")
    return value


DEFAULT_LIMIT = 20
Limit = Annotated[
    int, Query(ge=1, le=100, description="How many entries a page has at most."), BeforeValidator(_digits)
]
"""The parameter of a listing for how many entries a page has at most."""

Cursor = Annotated[
    str | None, Query(min_length=1, max_length=1024, description="Where the page begins: of the page before.")
]
"""The parameter of a listing for where a page begins."""

TOKEN_LEEWAY_SECONDS = 10
"""How far our clock may be from the issuer's; the authorizer allows the same."""

_TIME_TO_ANSWER_SECONDS = 1.0
"""Kept back from the time that Lambda gives, so that the answer still gets out."""


def described(what: str, *headers: str) -> "OpenAPIResponse":
    """A success of an endpoint for its documentation: what it means, and which of `HEADERS` it carries."""
    return {"description": what, "headers": {name: HEADERS[name] for name in headers}}


class Answer(NamedTuple):
    """How an error is told over HTTP."""

    status: HTTPStatus
    code: str
    title: str


ANSWERS: Mapping[type[Exception], Answer] = {
    errors.Unauthenticated: Answer(HTTPStatus.UNAUTHORIZED, "unauthorized", "Unauthorized"),
    errors.Forbidden: Answer(HTTPStatus.FORBIDDEN, "forbidden", "Forbidden"),
    errors.InvalidSignature: Answer(HTTPStatus.BAD_REQUEST, "invalid_signature", "Invalid signature"),
    errors.InvalidRequest: Answer(HTTPStatus.UNPROCESSABLE_ENTITY, "validation_error", "Invalid request"),
    errors.RequestTooLarge: Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request_too_large", "Request too large"),
    errors.UnsupportedEncoding: Answer(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", "Unsupported encoding"
    ),
    errors.OrderNotFound: Answer(HTTPStatus.NOT_FOUND, "order_not_found", "Order not found"),
    errors.ProductNotFound: Answer(HTTPStatus.NOT_FOUND, "product_not_found", "Product not found"),
    errors.UnknownProduct: Answer(HTTPStatus.UNPROCESSABLE_ENTITY, "unknown_product", "Unknown product"),
    errors.MixedCurrencies: Answer(HTTPStatus.UNPROCESSABLE_ENTITY, "mixed_currencies", "Mixed currencies"),
    errors.StockBelowReserved: Answer(HTTPStatus.CONFLICT, "stock_below_reserved", "Stock below what is reserved"),
    errors.PreconditionFailed: Answer(HTTPStatus.PRECONDITION_FAILED, "precondition_failed", "Precondition failed"),
    errors.PaymentAlreadyAttempted: Answer(
        HTTPStatus.CONFLICT, "payment_already_attempted", "Payment already attempted"
    ),
    errors.PaymentInProgress: Answer(HTTPStatus.CONFLICT, "payment_in_progress", "Payment in progress"),
    errors.OrderNotPending: Answer(HTTPStatus.CONFLICT, "order_not_pending", "Order not pending"),
    errors.IdempotencyKeyReused: Answer(HTTPStatus.CONFLICT, "idempotency_key_reused", "Idempotency key reused"),
    errors.InsufficientStock: Answer(HTTPStatus.UNPROCESSABLE_ENTITY, "insufficient_stock", "Insufficient stock"),
    errors.TooManyAttempts: Answer(HTTPStatus.CONFLICT, "too_many_attempts", "Too many attempts"),
    errors.PaymentFailed: Answer(HTTPStatus.PAYMENT_REQUIRED, "payment_failed", "Payment failed"),
    errors.InvalidPaymentMethod: Answer(
        HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_payment_method", "Invalid payment method"
    ),
    errors.AmountNotChargeable: Answer(
        HTTPStatus.UNPROCESSABLE_ENTITY, "amount_not_chargeable", "Amount not chargeable"
    ),
    errors.PaymentProviderError: Answer(HTTPStatus.BAD_GATEWAY, "payment_provider_error", "Payment provider error"),
    errors.Busy: Answer(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "Busy"),
}
"""What each error of the domain becomes. The gateway's own answers, in `template.yaml`, have the same form."""

_INTERNAL_ERROR = Answer(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "Internal error")
_NOT_FOUND = Answer(HTTPStatus.NOT_FOUND, "not_found", "Not found")
_INVALID_REQUEST = ANSWERS[errors.InvalidRequest]
_NOT_UTF_8 = "The body is not UTF-8 text. Send JSON in UTF-8, not compressed."


class Api(APIGatewayRestResolver):
    """The resolver of one endpoint: checks the caller before anything else, and tells every error as a problem.

    Parameters
    ----------
    open_to
        The roles that may call; a caller needs one of them. Without any, every signed-in user may.
    public
        Whether anybody may call, without a token: for an endpoint that knows its callers by other means.
    raises
        The errors of the domain that are this endpoint's own, for its documentation.
    """

    def __init__(self, *open_to: Role, public: bool = False, raises: Sequence[type[OrderPaymentError]] = ()) -> None:
        super().__init__(enable_validation=True, json_body_deserializer=_parse_json)
        self.open_to = frozenset(open_to)
        self.public = public
        self.raises = tuple(raises)
        self._cors_settings = CorsSettings.from_environment()
        for error_type, tell in {
            Exception: self._tell,
            RequestValidationError: self._tell_invalid,
            UnicodeDecodeError: self._tell_unreadable,
            Base64Error: self._tell_unreadable,
            NotFoundError: self._tell_not_found,
        }.items():
            self.exception_handler(error_type)(tell)

    @property
    def caller(self) -> Caller:
        """Who is calling."""
        caller: Caller = self.context["caller"]
        return caller

    @property
    def request_id(self) -> str:
        """API Gateway's id of the request, which the client sees, too."""
        request_id: str = self.current_event.request_context.request_id
        return request_id

    @property
    def deadline(self) -> Deadline:
        """By when the answer must be known."""
        milliseconds = self.lambda_context.get_remaining_time_in_millis()
        return Deadline.after(milliseconds / 1000 - _TIME_TO_ANSWER_SECONDS)

    @property
    def raw_body(self) -> bytes:
        """The body as it was sent."""
        body = self.current_event.body or ""
        return b64decode(body) if self.current_event.is_base64_encoded else body.encode()

    def location(self, path: str) -> str:
        """`path` of this API as this client sees it: behind the stage, or the base path of a custom domain."""
        return f"{self.context['path_prefix']}{path}"

    def resolve(self, event: Mapping[str, Any], context: "LambdaContext") -> dict[str, Any]:
        """Answer one request of API Gateway's."""
        request_context = event["requestContext"]
        path_parameters = event.get("pathParameters") or {}
        with logger.append_context_keys(
            requestId=request_context["requestId"],
            **{name: value[:64] for name, value in path_parameters.items() if name == "orderId"},
        ):
            try:
                self._check(event)
            except OrderPaymentError as error:
                faults = [_fault(error)] if isinstance(error, errors.InvalidRequest) else []
                problem = _problem(ANSWERS[type(error)], str(error), request_context["requestId"], faults=faults)
                if isinstance(error, errors.Unauthenticated):
                    problem.headers["WWW-Authenticate"] = "Bearer"
                if isinstance(error, errors.UnsupportedEncoding):
                    problem.headers["Accept-Encoding"] = "identity"  # RFC 9110, section 15.5.16
                answer = _as_proxy_answer(problem)
            else:
                route_path = event["resource"].format_map(path_parameters)
                self.context["path_prefix"] = request_context.get("path", "").rstrip("/").removesuffix(route_path)
                answer = super().resolve(_normalized(event, route_path), context)
            answer["multiValueHeaders"].update(self._cors_headers(event))
            logger.info("answered", status=answer["statusCode"])
            write_metrics()
            return answer

    def _check(self, event: Mapping[str, Any]) -> None:
        """Find out who is calling and whether they may, and refuse what is not even to be looked at."""
        if not self.public:
            self.context["caller"] = _caller(event["requestContext"].get("authorizer") or {}, self.open_to)
        if len((event.get("body") or "").encode(errors="surrogatepass")) > MAXIMUM_BODY_BYTES:
            raise errors.RequestTooLarge(f"A body has at most {MAXIMUM_BODY_BYTES} bytes.")
        if event.get("body") and event["httpMethod"] != "GET" and (encoding := _content_encoding(event)):
            raise errors.UnsupportedEncoding(f"The body is encoded as {encoding}. Send it without Content-Encoding.")
        for name, value in (event.get("pathParameters") or {}).items():
            if not value.isprintable():
                # No id has such characters, and Powertools drops a line break at the end of a path.
                raise _not_found(name)
        single = {name: [value] for name, value in (event.get("queryStringParameters") or {}).items()}
        self._check_query(single | (event.get("multiValueQueryStringParameters") or {}))

    def _check_query(self, query: Mapping[str, Sequence[str]]) -> None:
        """Refuse a parameter that the route does not declare, or declares once: a typo must not silently do nothing."""
        (route,) = self._static_routes + self._dynamic_routes
        declared = {parameter.alias: parameter for parameter in route.dependant.query_params}
        for name, values in query.items():
            if name not in declared:
                known = f"This route has {' and '.join(declared) or 'none'}."
                raise errors.InvalidRequest(f"Unknown query parameter. {known}", location=("query", name))
            if len(values) > 1 and is_scalar_field(declared[name]):
                raise errors.InvalidRequest("The query parameter is repeated. Send it once.", location=("query", name))

    def _cors_headers(self, event: Mapping[str, Any]) -> dict[str, list[str]]:
        """Leave for the web page that sent the request to read the answer, if it may.

        https://fetch.spec.whatwg.org/#http-cors-protocol
        """
        headers: Mapping[str, str] = event.get("headers") or {}
        origin = next((value for name, value in headers.items() if name.lower() == "origin"), None)
        varies = {"Vary": ["Origin"]}
        if origin is None or not self._cors_settings.allows(origin):
            return varies
        return varies | {
            "Access-Control-Allow-Origin": [origin],
            "Access-Control-Expose-Headers": [", ".join(EXPOSED_HEADERS)],
        }

    def _tell(self, error: Exception) -> Response[str]:
        answer = ANSWERS.get(type(error))
        if answer is None or not isinstance(error, OrderPaymentError):
            logger.exception("unexpected error")
            count(Count.INTERNAL_ERROR)
            return self._problem(_INTERNAL_ERROR, "Something went wrong on our side.")
        logger.info("refused", code=answer.code)
        faults: list[FaultView] = []
        match error:
            case errors.InvalidRequest():
                faults = [_fault(error)]
            case errors.UnknownProduct():
                faults = [
                    FaultView(location=["body", "items", line, "productId"], message=f"There is no product {name}.")
                    for line, name in error.lines
                ]
            case errors.InsufficientStock():
                faults = [
                    FaultView(
                        location=["products", short.product_id],
                        message=f"{short.requested} of {short.product_id} ordered, {short.available} available.",
                    )
                    for short in error.shortages
                ]
        attempt = error.order.attempt if error.order and error.replayed else None
        request_id = attempt.request_id if attempt else None
        response = self._problem(answer, str(error), faults=faults, order=error.order, request_id=request_id)
        if error.replayed:
            response.headers[REPLAYED_HEADER] = "true"
        if isinstance(error, errors.Busy):
            count(Count.BUSY)
            response.headers["Retry-After"] = str(error.retry_after_seconds)
        if isinstance(error, errors.PaymentInProgress):
            response.headers["Retry-After"] = str(UNKNOWN_RETRY_AFTER_SECONDS)
        return response

    def _tell_invalid(self, error: RequestValidationError) -> Response[str]:
        faults = [
            FaultView(location=["body"], message=fault["ctx"]["error"])
            if fault["type"] == "json_invalid"
            else FaultView(location=_as_sent(fault["loc"]), message=fault["msg"])
            for fault in error.errors()
        ]
        return self._problem(_INVALID_REQUEST, "The request does not have the form that it must have.", faults=faults)

    def _tell_unreadable(self, _: Exception) -> Response[str]:
        return self._problem(_INVALID_REQUEST, _NOT_UTF_8, faults=[FaultView(location=["body"], message=_NOT_UTF_8)])

    def _tell_not_found(self, _: NotFoundError) -> Response[str]:
        """Tell of a path whose id cannot be one: it has characters that no route takes."""
        for name in self.current_event.path_parameters:
            return self._tell(_not_found(name))
        return self._problem(_NOT_FOUND, "There is no such route.")

    def _problem(
        self,
        answer: Answer,
        detail: str,
        *,
        faults: Sequence[FaultView] = (),
        order: Order | None = None,
        request_id: str | None = None,
    ) -> Response[str]:
        return _problem(answer, detail, request_id or self.request_id, faults=faults, order=order)


def _content_encoding(event: Mapping[str, Any]) -> str | None:
    """Return the content encodings of the body, or None if it has none but `identity`."""
    headers: Mapping[str, str] = event.get("headers") or {}
    value = next((value for name, value in headers.items() if name.lower() == "content-encoding"), "")
    codings = [coding.strip().lower() for coding in value.split(",")]
    return value if set(codings) - {"", "identity"} else None


def _fault(error: errors.InvalidRequest) -> FaultView:
    return FaultView(location=list(error.location), message=str(error))


def _not_found(parameter: str) -> OrderPaymentError:
    """What to tell of a path in which this parameter is the id of nothing."""
    if parameter == "productId":
        return errors.ProductNotFound("There is no such product.")
    return errors.OrderNotFound("There is no such order.")


def _as_sent(location: Sequence[str | int]) -> list[str | int]:
    """The path to an offending value, in the client's words: a parameter of the path has a name of ours in Python."""
    return [to_camel(str(part)) for part in location] if location[0] == "path" else list(location)


def _caller(authorizer_context: Mapping[str, object], open_to: frozenset[Role]) -> Caller:
    """Who the authorizer says is calling, if they may still call, and this endpoint.

    API Gateway keeps the authorizer's answer for a while, so the token may have expired since it was verified.
    """
    try:
        caller = Caller.from_authorizer_context(authorizer_context)
    except (KeyError, ValueError):
        raise errors.Unauthenticated("A valid bearer token is required.") from None
    if caller.expires_at <= utc_now().timestamp() - TOKEN_LEEWAY_SECONDS:
        raise errors.Unauthenticated("The token has expired.")
    if open_to and not open_to & caller.roles:
        raise errors.Forbidden("Your role may not do this.")
    return caller


def _normalized(event: Mapping[str, Any], route_path: str) -> dict[str, Any]:
    """The event with what varies between gateways taken off.

    The path is that of the route, without the base path of a custom domain. And there is no content type: a body is
    JSON whatever its label, for curl calls everything a form.
    """
    return {
        **event,
        "path": route_path,
        **{
            headers: {
                name: value for name, value in (event.get(headers) or {}).items() if name.lower() != "content-type"
            }
            for headers in ("headers", "multiValueHeaders")
        },
    }


def _parse_json(text: str) -> Any:
    """As `json.loads`, safe from what makes that fail in other ways: nesting too deep, numbers too long, odd text.

    `null` is refused: a body that says nothing is left out. So is an object that names a member twice: who checks the
    one may be charged for the other. A byte order mark is ignored, as RFC 8259, section 8.1 allows.
    """
    text = text.removeprefix("\ufeff")
    if "\0" in text or "\ufffd" in text:
        # UTF-16 or UTF-32 has null bytes, which JSON has not. A gateway replaces bytes that are not UTF-8 by U+FFFD.
        raise json.JSONDecodeError(_NOT_UTF_8, "", 0)
    try:
        value = from_json(text, allow_inf_nan=False)
        json.loads(text, object_pairs_hook=_object)
    except (ValueError, TypeError) as error:
        raise json.JSONDecodeError(str(error), "", 0) from None
    if value is None:
        raise json.JSONDecodeError("a body cannot be null", text, 0)
    return value


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in members}) < len(members):
        raise ValueError("an object names a member twice")
    return dict(members)


def _problem(
    answer: Answer,
    detail: str,
    request_id: str,
    *,
    faults: Sequence[FaultView] = (),
    order: Order | None = None,
) -> Response[str]:
    view = ProblemView(
        type=PROBLEM_TYPE_PREFIX + answer.code,
        title=answer.title,
        status=answer.status,
        detail=detail,
        code=answer.code,
        request_id=request_id,
        errors=list(faults) or None,
        order=OrderStatusView.of(order) if order else None,
    )
    return Response(answer.status, content_type="application/problem+json", body=json.dumps(view.to_json()))


def _as_proxy_answer(response: Response[str]) -> dict[str, Any]:
    return {
        "statusCode": response.status_code,
        "multiValueHeaders": {name: [value] for name, value in response.headers.items()},
        "body": response.body,
        "isBase64Encoded": False,
    }
