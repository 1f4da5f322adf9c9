"""Who is calling: the roles, and how the authorizer hands the caller on to the functions behind it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from urllib.parse import quote

# Printable ASCII except what ends or escapes a JSON string, and the percent sign itself.
_LOG_SAFE = "".join(set(map(chr, range(0x20, 0x7F))) - set('"\\%'))


class Role(StrEnum):
    """What a user may be; the specification's actors."""

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
        """Return the authorizer's `context`: API Gateway passes on strings, numbers and booleans only.

        `loggedUserId` is for the access log, which is JSON, and into which API Gateway writes values unescaped. It is
        the user id with unsafe characters percent-encoded.
        """
        return {
            "sub": self.user_id,
            "loggedUserId": quote(self.user_id, safe=_LOG_SAFE),
            "roles": " ".join(sorted(self.roles)),
            "exp": str(self.expires_at),
        }

    @classmethod
    def from_authorizer_context(cls, context: Mapping[str, object]) -> Self:
        """From `event.requestContext.authorizer`. Raises `KeyError` or `ValueError` for anything odd."""
        user_id, roles, expires_at = (str(context[name]) for name in ("sub", "roles", "exp"))
        if not user_id:
            raise ValueError("the authorizer handed on no user id")
        return cls(user_id, frozenset(map(Role, roles.split())), int(expires_at))
