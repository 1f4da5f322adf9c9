"""Who is calling: the roles, and how the authorizer hands the caller on to the functions behind it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


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
        """As the authorizer's `context`: API Gateway passes on strings, numbers and booleans only."""
        return {"sub": self.user_id, "roles": " ".join(sorted(self.roles)), "exp": str(self.expires_at)}

    @classmethod
    def from_authorizer_context(cls, context: Mapping[str, object]) -> Self:
        """From `event.requestContext.authorizer`. Raises `KeyError` or `ValueError` for anything odd."""
        user_id, roles, expires_at = (str(context[name]) for name in ("sub", "roles", "exp"))
        if not user_id:
            raise ValueError("the authorizer handed on no user id")
        return cls(user_id, frozenset(map(Role, roles.split())), int(expires_at))
