"""Resolver of one endpoint: turns an API Gateway event into a response or a problem.

Each function serves one route with an `Api`, which is Powertools' resolver with the rules of this service.
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.api_gateway import Route as PowertoolsRoute
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.compat import is_scalar_field
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from pydantic.alias_generators import to_camel, to_snake

from order_payments.api.problems import INTERNAL_ERROR, INVALID_REQUEST, NOT_FOUND, PROBLEM_TYPES, problem, problem_of
from order_payments.api.requests import (
    NOT_UTF_8,
    InvalidQuery,
    caller_of,
    check_body_and_path,
    header_of,
    normalize_event,
    not_found,
    parse_json,
    query_of,
)
from order_payments.api.responses import EXPOSED_HEADERS
from order_payments.api.routes import Route
from order_payments.api.views import FaultView
from order_payments.domain import errors
from order_payments.domain.errors import OrderPaymentError
from order_payments.domain.identity import Caller
from order_payments.runtime.clock import Deadline
from order_payments.runtime.metric_names import Count
from order_payments.runtime.observability import count, logger, write_metrics
from order_payments.runtime.settings import CorsSettings

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse
    from aws_lambda_powertools.utilities.typing import LambdaContext

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_TIME_TO_RESPOND_SECONDS = 1.0
"""Part of Lambda's remaining time that is reserved for sending the response."""


class Api(APIGatewayRestResolver):
    """Resolver of one route. It checks the caller first, and returns every error as a problem.

    Parameters
    ----------
    serves
        The route, with its permitted callers.
    raises
        The endpoint's own domain errors, for the OpenAPI document.
    """

    def __init__(self, serves: Route, *, raises: Sequence[type[OrderPaymentError]] = ()) -> None:
        super().__init__(enable_validation=True, json_body_deserializer=parse_json)
        self.serves = serves
        self.raises = tuple(raises)
        self._cors_settings = CorsSettings.from_environment()
        for error_type, respond in {
            Exception: self._respond_to_error,
            RequestValidationError: self._respond_to_invalid,
            UnicodeDecodeError: self._respond_to_unreadable,
            Base64Error: self._respond_to_unreadable,
            NotFoundError: self._respond_to_not_found,
        }.items():
            self.exception_handler(error_type)(respond)

    def endpoint(
        self,
        *,
        responses: "dict[int, OpenAPIResponse]",
        status_code: int = HTTPStatus.OK,
        openapi_extensions: dict[str, Any] | None = None,
    ) -> Callable[[Endpoint], Endpoint]:
        """Return the decorator for the function that serves the route. Its path parameters are in snake case."""
        rule = re.sub(r"{(\w+)}", lambda parameter: f"<{to_snake(parameter[1])}>", self.serves.path)
        return self.route(
            rule,
            self.serves.method,
            responses=responses,
            status_code=status_code,
            openapi_extensions=openapi_extensions,
        )

    @property
    def registered(self) -> PowertoolsRoute:
        """The endpoint as Powertools registered it. Private attributes: Powertools has no public list of routes."""
        (route,) = self._static_routes + self._dynamic_routes
        return route

    @property
    def caller(self) -> Caller:
        """The authenticated user."""
        caller: Caller = self.context["caller"]
        return caller

    @property
    def request_id(self) -> str:
        """API Gateway's id of the request, which the client also receives."""
        request_id: str = self.current_event.request_context.request_id
        return request_id

    @property
    def deadline(self) -> Deadline:
        """The deadline by which the endpoint must return."""
        milliseconds = self.lambda_context.get_remaining_time_in_millis()
        return Deadline.after(milliseconds / 1000 - _TIME_TO_RESPOND_SECONDS)

    @property
    def raw_body(self) -> bytes:
        """The body as the client sent it."""
        body = self.current_event.body or ""
        return b64decode(body) if self.current_event.is_base64_encoded else body.encode()

    def location(self, path: str) -> str:
        """Return `path` as this client addresses it: after the stage, or after the base path of a custom domain."""
        return f"{self.context['path_prefix']}{path}"

    def resolve(self, event: Mapping[str, Any], context: "LambdaContext") -> dict[str, Any]:
        """Return the response to one API Gateway event. This is the function's entry point."""
        request_context = event["requestContext"]
        path_parameters = event.get("pathParameters") or {}
        logger.thread_safe_clear_keys()  # of the previous request, such as its `correlationId`
        with logger.append_context_keys(
            requestId=request_context["requestId"],
            **{name: value[:64] for name, value in path_parameters.items() if name == "orderId"},
        ):
            try:
                self._check(event)
            except OrderPaymentError as error:
                response = _as_proxy_response(problem_of(error, request_context["requestId"]))
            else:
                route_path = event["resource"].format_map(path_parameters)
                self.context["path_prefix"] = request_context.get("path", "").rstrip("/").removesuffix(route_path)
                response = super().resolve(normalize_event(event, route_path), context)
            response["multiValueHeaders"].update(self._cors_headers(event))
            logger.info("request completed", status=response["statusCode"])
            write_metrics()
            return response

    def _check(self, event: Mapping[str, Any]) -> None:
        """Authenticate and authorize the caller, then refuse what no endpoint accepts."""
        if self.serves.needs_token:
            self.context["caller"] = caller_of(event, self.serves)
        check_body_and_path(event)
        self._check_query(query_of(event))

    def _check_query(self, query: Mapping[str, Sequence[str]]) -> None:
        """Refuse unknown parameters, and repeated ones that take one value, so that a typo is reported."""
        declared = {parameter.alias: parameter for parameter in self.registered.dependant.query_params}
        for name, values in query.items():
            if name not in declared:
                known = f"This route has {' and '.join(declared) or 'none'}."
                raise InvalidQuery(f"Unknown query parameter. {known}", parameter=name)
            if len(values) > 1 and is_scalar_field(declared[name]):
                raise InvalidQuery("The query parameter is repeated. Send it once.", parameter=name)

    def _cors_headers(self, event: Mapping[str, Any]) -> dict[str, list[str]]:
        """Return the headers that let an allowed web page read the response.

        https://fetch.spec.whatwg.org/#http-cors-protocol
        """
        origin = header_of(event, "origin")
        varies = {"Vary": ["Origin"]}
        if origin is None or not self._cors_settings.allows(origin):
            return varies
        return varies | {
            "Access-Control-Allow-Origin": [origin],
            "Access-Control-Expose-Headers": [", ".join(EXPOSED_HEADERS)],
        }

    def _respond_to_error(self, error: Exception) -> Response[str]:
        if not isinstance(error, OrderPaymentError) or type(error) not in PROBLEM_TYPES:
            logger.exception("unexpected error")
            count(Count.INTERNAL_ERROR)
            return problem(INTERNAL_ERROR, "Something went wrong on our side.", request_id=self.request_id)
        logger.info("request refused", code=PROBLEM_TYPES[type(error)].code)
        if isinstance(error, errors.Busy):
            count(Count.BUSY)
        return problem_of(error, self.request_id)

    def _respond_to_invalid(self, error: RequestValidationError) -> Response[str]:
        faults = [
            FaultView(location=["body"], message=fault["ctx"]["error"])
            if fault["type"] == "json_invalid"
            else FaultView(location=_location_for_client(fault["loc"]), message=_message_for_client(fault))
            for fault in error.errors()
        ]
        detail = "The request is invalid. Correct what `errors` lists."
        return problem(INVALID_REQUEST, detail, request_id=self.request_id, faults=faults)

    def _respond_to_unreadable(self, _: Exception) -> Response[str]:
        fault = FaultView(location=["body"], message=NOT_UTF_8)
        return problem(INVALID_REQUEST, NOT_UTF_8, request_id=self.request_id, faults=[fault])

    def _respond_to_not_found(self, _: NotFoundError) -> Response[str]:
        """Respond 404 to a path with an id that no route accepts."""
        for name in self.current_event.path_parameters:
            return self._respond_to_error(not_found(name))
        return problem(NOT_FOUND, "There is no such route.", request_id=self.request_id)


def _location_for_client(location: Sequence[str | int]) -> list[str | int]:
    """Return the location of an invalid value in the client's names: path parameters are in snake case in Python."""
    return [to_camel(str(part)) for part in location] if location[0] == "path" else list(location)


def _message_for_client(fault: Mapping[str, Any]) -> str:
    """Return the message of an invalid value. Pydantic adds "Value error, " to the messages of our own checks."""
    return str(fault["ctx"]["error"] if fault["type"] == "value_error" else fault["msg"])


def _as_proxy_response(response: Response[str]) -> dict[str, Any]:
    return {
        "statusCode": response.status_code,
        "multiValueHeaders": {name: [value] for name, value in response.headers.items()},
        "body": response.body,
        "isBase64Encoded": False,
    }
