"""Callers and their roles."""

from dataclasses import dataclass
from enum import StrEnum

MAXIMUM_USER_ID_LENGTH = 255
"""Limit of `sub` in OpenID Connect Core 1.0, section 2."""


class Role(StrEnum):
    """Role of a user. The roles are the actors of the specification."""

    BUYER = "buyer"
    SELLER = "seller"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """A user whose token was verified. `expires_at` is the token's `exp`, in seconds since the epoch."""

    user_id: str
    roles: frozenset[Role]
    expires_at: int
