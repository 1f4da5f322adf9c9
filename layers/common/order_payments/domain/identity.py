"""Callers: their roles, and the context in which the authorizer passes them to the functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from urllib.parse import quote

# Printable ASCII except the percent sign and the characters that end or escape a JSON string.
_LOG_SAFE = "".join(set(map(chr, range(0x20, 0x7F))) - set('"\\%'))


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

    def to_authorizer_context(self) -> dict[str, str]:
        """Return the authorizer's `context`. API Gateway passes on only strings, numbers and booleans.

        `loggedUserId` is the user id for the access log, with unsafe characters percent-encoded: the log is JSON, and
        API Gateway writes values into it unescaped.
        """
        return {
            "sub": self.user_id,
            "loggedUserId": quote(self.user_id, safe=_LOG_SAFE),
            "roles": " ".join(sorted(self.roles)),
            "exp": str(self.expires_at),
        }

    @classmethod
    def from_authorizer_context(cls, context: Mapping[str, object]) -> Self:
        """Read the caller from `event.requestContext.authorizer`. Raises `KeyError` or `ValueError` if invalid."""
        user_id, roles, expires_at = (str(context[name]) for name in ("sub", "roles", "exp"))
        if not user_id:
            raise ValueError("the authorizer context has no user id")
        return cls(user_id, frozenset(map(Role, roles.split())), int(expires_at))
