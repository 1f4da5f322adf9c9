"""Request parameters that several endpoints share."""

import re
from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Header, Query
from pydantic import BeforeValidator


def _require_digits(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"0|[1-9][0-9]{0,8}", value):
        raise ValueError("Input should be a whole number, written in digits only")
    return value


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="A unique key of your choice. A repeated request with the same key runs once and gets the same "
        "response.",
    ),
]

DEFAULT_LIMIT = 20
Limit = Annotated[
    int, Query(ge=1, le=100, description="Maximum number of entries per page."), BeforeValidator(_require_digits)
]
Cursor = Annotated[
    str | None,
    Query(min_length=1, max_length=1024, description="Cursor of the previous page. Omit it for the first page."),
]
