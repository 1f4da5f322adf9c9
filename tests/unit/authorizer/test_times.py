"""The validity of a token to the second, with a stopped clock."""

import jwt
import pytest
from key_set import KeySet
from tokens import LEEWAY_SECONDS, TokenRefused, TokenVerifier

from tests.unit.authorizer.issuer import AUDIENCE, ISSUER, Issuer, to_json

NOW = 1_000_000_000.0


@pytest.fixture
def verifier(issuer: Issuer) -> TokenVerifier:
    return TokenVerifier(ISSUER, AUDIENCE, "roles", KeySet.parse(to_json(issuer.jwks)), lambda: NOW)


GOOD = {
    "exp a second ago": {"exp": NOW - 1},
    "exp at the end of the leeway": {"exp": NOW - LEEWAY_SECONDS + 0.5},
    "exp at the end of time": {"exp": 253_402_300_799},
    "nbf at the end of the leeway": {"nbf": NOW + LEEWAY_SECONDS},
    "iat at the end of the leeway": {"iat": NOW + LEEWAY_SECONDS},
}
BAD = {
    "exp beyond the leeway": ("expired", {"exp": NOW - LEEWAY_SECONDS}),
    "exp beyond the end of time": ("malformed_time", {"exp": 253_402_300_800}),
    "nbf beyond the leeway": ("not_yet_valid", {"nbf": NOW + LEEWAY_SECONDS + 1}),
    "iat beyond the leeway": ("not_yet_valid", {"iat": NOW + LEEWAY_SECONDS + 1}),
}


@pytest.mark.parametrize("times", GOOD.values(), ids=GOOD.keys())
def test_token_is_accepted_within_the_leeway(verifier: TokenVerifier, issuer: Issuer, times: dict[str, float]) -> None:
    assert verifier.verify(issuer.token({"iat": NOW, "exp": NOW + 60, **times})).user_id == "alice"


@pytest.mark.parametrize(("reason", "times"), BAD.values(), ids=BAD.keys())
def test_token_is_refused_beyond_the_leeway(
    verifier: TokenVerifier, issuer: Issuer, reason: str, times: dict[str, float]
) -> None:
    with pytest.raises(TokenRefused, match=reason):
        verifier.verify(issuer.token({"iat": NOW, "exp": NOW + 60, **times}))


def test_expiry_is_in_whole_seconds(verifier: TokenVerifier, issuer: Issuer) -> None:
    caller = verifier.verify(issuer.token({"iat": NOW, "exp": NOW + 60.9}))

    assert caller.expires_at == NOW + 60


def test_pyjwt_alone_accepts_a_string_as_time(issuer: Issuer) -> None:
    """PyJWT accepts a string as `exp`. If this test fails after an update, `_check_times` may be unnecessary."""
    token = issuer.token({"exp": "99999999999"})

    assert jwt.decode(token, issuer.rsa.public_key(), algorithms=["RS256"], audience=AUDIENCE)["sub"] == "alice"
