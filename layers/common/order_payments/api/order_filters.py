"""Query parameters that select orders."""

import re
from datetime import UTC, datetime
from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query
from pydantic import AfterValidator, AwareDatetime, BeforeValidator

from order_payments.api.requests import InvalidQuery
from order_payments.domain.identity import MAXIMUM_USER_ID_LENGTH
from order_payments.domain.orders import OrderStatus
from order_payments.storage.order_pages import OrderFilter

_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})", re.IGNORECASE
)


def _require_rfc3339(value: object) -> object:
    """Refuse other forms that pydantic accepts, such as seconds since the epoch."""
    if isinstance(value, str) and not _RFC_3339.fullmatch(value):
        raise ValueError("Input should be an RFC 3339 time, such as 2026-11-23T05:50:20.090Z")
    return value


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("Input should be in the years 1 to 9999 in UTC") from None


_Time = Annotated[AwareDatetime, BeforeValidator(_require_rfc3339), AfterValidator(_in_utc)]

Status = Annotated[OrderStatus | None, Query(description="Only orders with this status.")]
BuyerId = Annotated[
    str | None,
    Query(alias="buyerId", min_length=1, max_length=MAXIMUM_USER_ID_LENGTH, description="Only this buyer's orders."),
]
PlacedFrom = Annotated[_Time | None, Query(alias="placedFrom", description="Only orders placed at this time or later.")]
PlacedTo = Annotated[_Time | None, Query(alias="placedTo", description="Only orders placed at this time or earlier.")]


def order_filter(
    buyer_id: str | None, status: OrderStatus | None, placed_from: datetime | None, placed_to: datetime | None
) -> OrderFilter:
    """Return the filter for a request's parameters. Raises `InvalidQuery` for a period that ends before it begins."""
    if placed_from and placed_to and placed_from > placed_to:
        raise InvalidQuery("`placedFrom` is later than `placedTo`.", parameter="placedFrom")
    return OrderFilter(buyer_id, status, placed_from, placed_to)
