"""A response of the dummy, and how it travels back to the client."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reply(StrEnum):
    """What happens to a response on its way to the client."""

    PROMPT = "prompt"
    SLOW = "slow"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Response:
    """HTTP status, JSON body, the id of the request that was first given it, and how it travels."""

    status: int
    body: str
    request_id: str
    should_retry: bool | None = None
    reply: Reply = Reply.PROMPT
