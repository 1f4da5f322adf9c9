"""Tokens that must be accepted, and the caller that each one identifies."""

import json
import time

import pytest

from tests.unit.authorizer.conftest import Authorize, Start, event_with
from tests.unit.authorizer.issuer import ABSENT, AUDIENCE, Issuer, public_jwk


@pytest.mark.parametrize(
    "header",
    [
        *({"kid": "rsa", "alg": algorithm} for algorithm in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        {"kid": "p256", "alg": "ES256"},
        {"kid": "p384", "alg": "ES384"},
        {"kid": "p521", "alg": "ES512"},
        {"kid": "ed25519", "alg": "EdDSA"},
        {"kid": "rs256-only", "alg": "RS256"},
        *({"typ": token_type} for token_type in (ABSENT, "JWT", "jwt", "at+jwt", "application/at+jwt")),
    ],
    ids=lambda header: "no typ" if ABSENT in header.values() else " ".join(header.values()),
)
def test_token_of_each_algorithm_and_type_is_accepted(
    authorize: Authorize, issuer: Issuer, header: dict[str, object]
) -> None:
    assert authorize(event_with(f"Bearer {issuer.token(header=header)}"))["principalId"] == "alice"


def test_context_has_the_caller_and_the_tokens_expiry(authorize: Authorize, issuer: Issuer) -> None:
    expires_at = int(time.time()) + 300

    response = authorize(
        event_with(f"Bearer {issuer.token({'sub': 'bob', 'roles': ['buyer', 'admin'], 'exp': expires_at})}")
    )

    assert response["context"] == {
        "sub": "bob",
        "loggedUserId": "bob",
        "roles": "admin buyer",
        "exp": str(expires_at),
    }


GOOD_CLAIMS: dict[str, dict[str, object]] = {
    "our audience among others": {"aud": ["another-service", AUDIENCE]},
    "expiry with fractions of a second": {"exp": time.time() + 86_400.5},
    "without iat": {"iat": ABSENT},
    "nbf in the past": {"nbf": 1},
    "a user id of maximum length": {"sub": "a" * 255},
    "a user id beyond ASCII": {"sub": "Zoë 用户"},
    "claims of other standards": {"jti": "1", "scope": "openid", "email_verified": True, "address": {"country": "NZ"}},
}


@pytest.mark.parametrize("claims", GOOD_CLAIMS.values(), ids=GOOD_CLAIMS.keys())
def test_claims_that_rfc_7519_allows_are_accepted(
    authorize: Authorize, issuer: Issuer, claims: dict[str, object]
) -> None:
    response = authorize(event_with(f"Bearer {issuer.token(claims)}"))

    assert response["principalId"] == claims.get("sub", "alice")


ROLES: dict[str, tuple[object, str]] = {
    "one": (["seller"], "seller"),
    "all": (["seller", "buyer", "admin"], "admin buyer seller"),
    "none": ([], ""),
    "claim missing": (ABSENT, ""),
    "repeated": (["buyer", "buyer"], "buyer"),
    "unknown ones are ignored": (["buyer", "superuser"], "buyer"),
    "case matters": (["Admin", "BUYER"], ""),
}


@pytest.mark.parametrize(("claim", "expected"), ROLES.values(), ids=ROLES.keys())
def test_context_has_the_known_roles(authorize: Authorize, issuer: Issuer, claim: object, expected: str) -> None:
    response = authorize(event_with(f"Bearer {issuer.token({'roles': claim})}"))

    assert response["context"]["roles"] == expected


def test_roles_can_come_from_another_claim(start: Start, issuer: Issuer) -> None:
    authorize = start(JWT_JWKS=json.dumps(issuer.jwks), JWT_ROLES_CLAIM="cognito:groups")

    response = authorize(event_with(f"Bearer {issuer.token({'cognito:groups': ['admin']})}"))

    assert response["context"]["roles"] == "admin"


@pytest.mark.parametrize("kid_in_set", ["rsa", None])
def test_token_without_key_id_is_verified_by_the_only_key(start: Start, issuer: Issuer, kid_in_set: str | None) -> None:
    authorize = start(JWT_JWKS=json.dumps({"keys": [public_jwk(issuer.rsa, kid_in_set)]}))

    response = authorize(event_with(f"Bearer {issuer.token(header={'kid': ABSENT}, sign=issuer.signer())}"))

    assert response["principalId"] == "alice"


def test_keys_of_different_types_may_share_a_key_id(start: Start, issuer: Issuer) -> None:
    authorize = start(JWT_JWKS=json.dumps({"keys": [public_jwk(issuer.rsa, "main"), public_jwk(issuer.p256, "main")]}))

    token = issuer.token(header={"kid": "main", "alg": "ES256"}, sign=issuer.signer("p256", "ES256"))

    assert authorize(event_with(f"Bearer {token}"))["principalId"] == "alice"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
def test_scheme_is_case_insensitive(authorize: Authorize, issuer: Issuer, scheme: str) -> None:
    assert authorize(event_with(f"{scheme} {issuer.token()}"))["principalId"] == "alice"


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
@pytest.mark.parametrize("missing", [{}, {"headers": None}, {"multiValueHeaders": None}], ids=str)
def test_header_is_found_in_any_case_in_either_header_field(
    authorize: Authorize, issuer: Issuer, name: str, missing: dict[str, None]
) -> None:
    value = f"Bearer {issuer.token()}"
    event = {**event_with(), "headers": {name: value}, "multiValueHeaders": {name: [value]}, **missing}

    assert authorize(event)["principalId"] == "alice"


def test_token_of_the_gateways_maximum_length_is_accepted(authorize: Authorize, issuer: Issuer) -> None:
    room = 10_240 - len(issuer.token({"groups": ""})) - 2
    token = issuer.token({"groups": "g" * (room * 3 // 4)})

    assert 10_200 < len(token) <= 10_240
    assert authorize(event_with(f"Bearer {token}"))["principalId"] == "alice"
