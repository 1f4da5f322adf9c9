"""Verification of bearer tokens.

JSON Web Tokens: RFC 7519. Signatures: RFC 7515. Known attacks and defences: RFC 8725. PyJWT checks the form, the
signature, the issuer and the audience. This module checks what PyJWT leaves to its caller, checks less strictly, or
checks against its own clock.
"""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
from key_set import ALLOWED_ALGORITHMS, FetchedKeySet, KeySet

from order_payments.domain.identity import MAXIMUM_USER_ID_LENGTH, Caller, Role

if TYPE_CHECKING:
    from jwt.algorithms import AllowedPublicKeys

# API Gateway limits the request line and all headers together to 10,240 bytes.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html
MAX_TOKEN_LENGTH = 10 * 1024
LEEWAY_SECONDS = 10
LATEST_TIME = 253_402_300_799  # the end of the year 9999, the last time that RFC 3339 can express

# Three parts, none empty. An encrypted token has five, and the signature of an unsigned token is empty.
_SIGNED_TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")

# A token for another purpose, such as a logout token, has another `typ` (RFC 8725, section 3.11).
_ACCESS_TOKEN_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})

_REASONS: dict[type[jwt.PyJWTError], str] = {
    jwt.InvalidSignatureError: "wrong_signature",
    jwt.InvalidIssuerError: "wrong_issuer",
    jwt.InvalidAudienceError: "wrong_audience",
    jwt.MissingRequiredClaimError: "missing_claim",
}


class TokenRefused(Exception):
    """The token does not identify a caller. `reason` is a stable code for the log; the client does not receive it."""

    def __init__(self, reason: str, kid: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kid = kid


@dataclass(frozen=True, slots=True)
class TokenVerifier:
    """Verifier of tokens from one issuer for one audience. `clock` returns seconds since the epoch.

    An access token of Amazon Cognito has the audience in `client_id`, and the kind of token in `token_use`.
    https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html
    """

    issuer: str
    audience: str
    roles_claim: str
    keys: KeySet | FetchedKeySet
    clock: Callable[[], float]
    audience_claim: str = "aud"
    token_use: str | None = None

    def verify(self, token: str) -> Caller:
        """Return the caller that the token identifies. Raises `TokenRefused`, or `NoKeys` if no key is available."""
        if len(token) > MAX_TOKEN_LENGTH:
            raise TokenRefused("token_too_long")
        parts = _SIGNED_TOKEN.fullmatch(token)
        if parts is None:
            raise TokenRefused("no_signed_token")
        algorithm, key = self._choose_key(_read_json(parts[1]))
        self._check_with_pyjwt(token, algorithm, key)
        claims = _read_json(parts[2])
        self._check_purpose(claims)
        return Caller(_user_id(claims), self._roles(claims), self._check_times(claims))

    def _choose_key(self, header: dict[str, Any]) -> "tuple[str, AllowedPublicKeys]":
        """Return the algorithm and the trusted key with the header's `kid`. Keys inside the header are ignored."""
        algorithm, kid, token_type = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
        if not isinstance(algorithm, str) or algorithm not in ALLOWED_ALGORITHMS:
            raise TokenRefused("wrong_algorithm")
        if not isinstance(token_type, str) or token_type.lower() not in _ACCESS_TOKEN_TYPES:
            raise TokenRefused("wrong_type")
        # PyJWT accepts one extension, the detached payload. This service accepts none.
        if "crit" in header:
            raise TokenRefused("unknown_extension")
        if "kid" in header and not isinstance(kid, str):
            raise TokenRefused("malformed")
        key = self.keys.find(kid, algorithm)
        if key is None:
            raise TokenRefused("no_such_key", kid)
        return algorithm, key

    def _check_with_pyjwt(self, token: str, algorithm: str, key: "AllowedPublicKeys") -> None:
        try:
            jwt.decode(
                token,
                key,
                # `_choose_key` has checked that it is allowed, and that the key allows it.
                algorithms=[algorithm],
                issuer=self.issuer,
                audience=self.audience if self._audience_is_aud else None,
                options={
                    "require": ["iss", self.audience_claim, "exp", "sub"],
                    # `_check_purpose` checks any other audience claim.
                    "verify_aud": self._audience_is_aud,
                    "enforce_minimum_key_length": True,
                    # `_check_times` checks these: PyJWT accepts "1", true and 1e300, and reads the system clock.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.PyJWTError as error:
            raise TokenRefused(_REASONS.get(type(error), "malformed")) from error

    @property
    def _audience_is_aud(self) -> bool:
        return self.audience_claim == "aud"

    def _check_purpose(self, claims: dict[str, Any]) -> None:
        """Refuse a token for another client or another use."""
        if not self._audience_is_aud and claims[self.audience_claim] != self.audience:
            raise TokenRefused("wrong_audience")
        if self.token_use is not None and claims.get("token_use") != self.token_use:
            raise TokenRefused("wrong_use")

    def _check_times(self, claims: dict[str, Any]) -> int:
        """Refuse a token that has expired or is not yet valid. Returns its expiry, in seconds since the epoch."""
        now = self.clock()
        expires_at = _time(claims["exp"])
        if expires_at <= now - LEEWAY_SECONDS:
            raise TokenRefused("expired")
        if any(_time(claims[name]) > now + LEEWAY_SECONDS for name in ("nbf", "iat") if name in claims):
            raise TokenRefused("not_yet_valid")
        return int(expires_at)

    def _roles(self, claims: dict[str, Any]) -> frozenset[Role]:
        """Return the roles of this service. The issuer may have others, for other services."""
        names = claims.get(self.roles_claim, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TokenRefused("malformed_roles")
        return frozenset(role for role in Role if role in names)


def _user_id(claims: dict[str, Any]) -> str:
    user_id = claims["sub"]
    # The id enters log lines and other systems' keys, where a line break or direction mark can make it look different.
    if not isinstance(user_id, str) or not 0 < len(user_id) <= MAXIMUM_USER_ID_LENGTH or not user_id.isprintable():
        raise TokenRefused("malformed_user_id")
    return user_id


def _time(value: object) -> float:
    """Return a claim as a NumericDate. Refuses booleans, which are numbers in Python, NaN and infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LATEST_TIME:
        raise TokenRefused("malformed_time")
    return value


def _read_json(part: str) -> dict[str, Any]:
    """Return the JSON object in a part of the token. PyJWT checks the base64 form of all three parts."""
    try:
        text = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()
        content = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise TokenRefused("malformed") from error
    if not isinstance(content, dict):
        raise TokenRefused("malformed")
    return content


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object's members. Refuses repeated names, which parsers read differently (RFC 7519, section 4)."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name is repeated")
    return members
