"""Parameters that several endpoints share."""

import re
from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Header, Query
from pydantic import BeforeValidator


def _require_digits(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"[1-9][0-9]{0,8}", value):
        raise ValueError("Input should be a whole number, in digits alone")
    return value


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Of your choice. The same request under the same key is done once and answered alike.",
    ),
]
"""The key of an endpoint that responds to a repeated request as it did to the first."""

DEFAULT_LIMIT = 20
Limit = Annotated[
    int, Query(ge=1, le=100, description="How many entries a page has at most."), BeforeValidator(_require_digits)
]
"""The largest number of entries in a page of a listing."""

Cursor = Annotated[
    str | None, Query(min_length=1, max_length=1024, description="Where the page begins: of the page before.")
]
"""The start of a page of a listing."""
