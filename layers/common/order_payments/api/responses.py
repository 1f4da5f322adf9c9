"""Success responses: their headers and their OpenAPI descriptions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse, OpenAPIResponseHeader

REPLAYED_HEADER = "Idempotent-Replayed"
PENDING_RETRY_AFTER_SECONDS = 5

HEADERS: "Mapping[str, OpenAPIResponseHeader]" = {
    "Location": {"description": "Path of the order's status.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait before the next request.", "schema": {"type": "integer"}},
    "ETag": {
        "description": "Strong entity tag of the product, for `If-Match`. Any change to the product or its stock "
        "changes it.",
        "schema": {"type": "string"},
    },
    REPLAYED_HEADER: {
        "description": "`true` if this is the recorded response of an earlier, identical request.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}
"""OpenAPI descriptions of the response headers."""
EXPOSED_HEADERS = (*HEADERS, "WWW-Authenticate", "x-amzn-RequestId")
"""Response headers that a web page may read (CORS)."""


def success(description: str, *headers: str) -> "OpenAPIResponse":
    """Return the OpenAPI description of a success response with these `HEADERS`."""
    return {"description": description, "headers": {name: HEADERS[name] for name in headers}}
