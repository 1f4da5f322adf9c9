"""Checks before an endpoint runs: caller, body size and encoding, path, and JSON."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from order_payments.api.authorizer_context import from_authorizer_context
from order_payments.api.routes import Route
from order_payments.domain.errors import Forbidden, OrderNotFound, OrderPaymentError, ProductNotFound
from order_payments.domain.identity import Caller
from order_payments.runtime.clock import utc_now

MAXIMUM_BODY_BYTES = 256 * 1024
"""Larger than the largest order request and Stripe's largest event."""

TOKEN_LEEWAY_SECONDS = 10
"""Tolerated difference between our clock and the issuer's. The authorizer tolerates the same."""

NOT_UTF_8 = "The body is not UTF-8 text. Send uncompressed JSON in UTF-8."


class Unauthenticated(OrderPaymentError):
    """The request has no identity, or an expired one."""


class RequestTooLarge(OrderPaymentError):
    """The body exceeds `MAXIMUM_BODY_BYTES`."""


class UnsupportedEncoding(OrderPaymentError):
    """The body has a content encoding, such as compression."""


class InvalidQuery(OrderPaymentError):
    """A query parameter is unknown or repeated, or contradicts another one."""

    def __init__(self, message: str, *, parameter: str) -> None:
        super().__init__(message)
        self.parameter = parameter


def caller_of(event: Mapping[str, Any], route: Route) -> Caller:
    """Return the caller that the authorizer identified.

    Raises `Unauthenticated`, or `Forbidden` if the caller has no role for the route. API Gateway caches the
    authorizer's response, so the token may have expired since it was verified.
    """
    try:
        caller = from_authorizer_context(event["requestContext"].get("authorizer") or {})
    except (KeyError, ValueError):
        raise Unauthenticated("A valid bearer token is required.") from None
    if caller.expires_at <= utc_now().timestamp() - TOKEN_LEEWAY_SECONDS:
        raise Unauthenticated("The token has expired.")
    if not route.admits(caller.roles):
        raise Forbidden("Your role may not do this.")
    return caller


def check_body_and_path(event: Mapping[str, Any]) -> None:
    """Refuse a body that is too large or encoded, and an id with unprintable characters."""
    if len((event.get("body") or "").encode(errors="surrogatepass")) > MAXIMUM_BODY_BYTES:
        raise RequestTooLarge(f"The body has more than {MAXIMUM_BODY_BYTES} bytes.")
    if event.get("body") and event["httpMethod"] != "GET" and (encoding := _content_encoding(event)):
        raise UnsupportedEncoding(f"The body is encoded as {encoding}. Send it without Content-Encoding.")
    for name, value in (event.get("pathParameters") or {}).items():
        if not value.isprintable():
            # Powertools drops a line break at the end of a path, so the endpoint would see a valid id.
            raise not_found(name)


def not_found(parameter: str) -> OrderPaymentError:
    """Return the error for a path parameter that is no existing id."""
    if parameter == "productId":
        return ProductNotFound("There is no such product.")
    return OrderNotFound("There is no such order.")


def query_of(event: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the query parameters, each with all its values."""
    single = {name: [value] for name, value in (event.get("queryStringParameters") or {}).items()}
    return single | (event.get("multiValueQueryStringParameters") or {})


def header_of(event: Mapping[str, Any], name: str) -> str | None:
    """Return the value of a header, or None. `name` is in lower case."""
    headers: Mapping[str, str] = event.get("headers") or {}
    return next((value for each, value in headers.items() if each.lower() == name), None)


def normalize_event(event: Mapping[str, Any], route_path: str) -> dict[str, Any]:
    """Return the event without differences between gateways.

    The path becomes the route's, without the base path of a custom domain. The content type is removed, because a body
    is parsed as JSON in any case: curl labels every body as a form.
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


def parse_json(text: str) -> Any:
    """Return the value of a JSON text, as `json.loads` does. Raises `json.JSONDecodeError` for every fault.

    Faults include deep nesting, long numbers and invalid text. `null` is refused: omit an empty body. A repeated member
    name is refused, because a client that checks one value may be charged for the other. A byte order mark is ignored,
    as RFC 8259, section 8.1 allows.
    """
    text = text.removeprefix("\ufeff")
    if "\0" in text or "\ufffd" in text:
        # UTF-16 and UTF-32 contain null bytes, JSON does not. A gateway replaces bytes that are not UTF-8 with U+FFFD.
        raise json.JSONDecodeError(NOT_UTF_8, "", 0)
    try:
        value = from_json(text, allow_inf_nan=False)
        json.loads(text, object_pairs_hook=_object)
    except (ValueError, TypeError) as error:
        raise json.JSONDecodeError(f"The body is not valid JSON: {error}", "", 0) from None
    if value is None:
        raise json.JSONDecodeError("The body is null. Send an object, or no body.", text, 0)
    return value


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in members}) < len(members):
        raise ValueError("an object repeats a member name")
    return dict(members)


def _content_encoding(event: Mapping[str, Any]) -> str | None:
    """Return the content encodings of the body, or None if there are none besides `identity`."""
    value = header_of(event, "content-encoding") or ""
    codings = [coding.strip().lower() for coding in value.split(",")]
    return value if set(codings) - {"", "identity"} else None
