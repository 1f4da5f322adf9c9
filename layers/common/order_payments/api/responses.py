"""Success responses: their headers, and how OpenAPI describes them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse, OpenAPIResponseHeader

REPLAYED_HEADER = "Idempotent-Replayed"
UNKNOWN_RETRY_AFTER_SECONDS = 5

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
"""The headers of our responses, as OpenAPI describes them."""
EXPOSED_HEADERS = (*HEADERS, "WWW-Authenticate", "x-amzn-RequestId")
"""The response headers that a web page may read (CORS)."""


def success(description: str, *headers: str) -> "OpenAPIResponse":
    """Return what OpenAPI says of a success: its meaning, and which of `HEADERS` it carries."""
    return {"description": description, "headers": {name: HEADERS[name] for name in headers}}
