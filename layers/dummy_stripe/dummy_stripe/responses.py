"""A response of the dummy, and how it is delivered to the client."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

SLOW_SECONDS: Final = 3.0
"""Delay of a slow response."""


class Reply(StrEnum):
    """Delivery of a response to the client."""

    PROMPT = "prompt"
    SLOW = "slow"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Response:
    """HTTP status, JSON body, the id of the request that created it, its delivery, and values of headers."""

    status: int
    body: str
    request_id: str
    should_retry: bool | None = None
    reply: Reply = Reply.PROMPT
    rate_limited_reason: str | None = None
