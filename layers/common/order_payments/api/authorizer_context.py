"""The context in which the authorizer passes the caller to the functions. API Gateway caches it with the policy."""

from collections.abc import Mapping
from urllib.parse import quote

from order_payments.domain.identity import Caller, Role

# Printable ASCII except the percent sign and the characters that end or escape a JSON string.
_LOG_SAFE = "".join(set(map(chr, range(0x20, 0x7F))) - set('"\\%'))


def to_authorizer_context(caller: Caller) -> dict[str, str]:
    """Return the authorizer's `context`. API Gateway passes on only strings, numbers and booleans.

    `loggedUserId` is the user id for the access log, with unsafe characters percent-encoded: the log is JSON, and API
    Gateway writes values into it unescaped.
    """
    return {
        "sub": caller.user_id,
        "loggedUserId": quote(caller.user_id, safe=_LOG_SAFE),
        "roles": " ".join(sorted(caller.roles)),
        "exp": str(caller.expires_at),
    }


def from_authorizer_context(context: Mapping[str, object]) -> Caller:
    """Read the caller from `event.requestContext.authorizer`. Raises `KeyError` or `ValueError` if invalid."""
    user_id, roles, expires_at = (str(context[name]) for name in ("sub", "roles", "exp"))
    if not user_id:
        raise ValueError("the authorizer context has no user id")
    return Caller(user_id, frozenset(map(Role, roles.split())), int(expires_at))
