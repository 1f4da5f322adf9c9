"""Tokens of an Amazon Cognito user pool: only access tokens are accepted, with the user's groups as roles.

https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.authorizer.conftest import Authorize, Start, event_with, raises_unauthorized
from tests.unit.authorizer.issuer import ABSENT, Issuer

CLIENT = "1example23456789"
ACCESS = {
    "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "aud": ABSENT,
    "roles": ABSENT,
    "client_id": CLIENT,
    "token_use": "access",
    "cognito:groups": ["buyer"],
    "scope": "aws.cognito.signin.user.admin",
    "username": "alice",
}


@pytest.fixture
def authorize(start: Start, issuer: Issuer) -> Authorize:
    return start(
        JWT_JWKS=json.dumps(issuer.jwks),
        JWT_AUDIENCE=CLIENT,
        JWT_AUDIENCE_CLAIM="client_id",
        JWT_TOKEN_USE="access",
        JWT_ROLES_CLAIM="cognito:groups",
    )


def test_access_token_has_its_groups_as_roles(authorize: Authorize, issuer: Issuer) -> None:
    token = issuer.token({**ACCESS, "cognito:groups": ["admin", "buyer", "of-another-app"]}, {"typ": ABSENT})

    response = authorize(event_with(f"Bearer {token}"))

    assert response["principalId"] == ACCESS["sub"]
    assert response["context"]["roles"] == "admin buyer"


def test_user_without_groups_has_no_roles(authorize: Authorize, issuer: Issuer) -> None:
    response = authorize(event_with(f"Bearer {issuer.token({**ACCESS, 'cognito:groups': ABSENT})}"))

    assert response["context"]["roles"] == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"client_id": "another"}, "wrong_audience"),
        ({"client_id": [CLIENT]}, "wrong_audience"),
        ({"client_id": None}, "missing_claim"),
        ({"client_id": ABSENT}, "missing_claim"),
        ({"client_id": ABSENT, "aud": CLIENT}, "missing_claim"),
        ({"client_id": ABSENT, "aud": CLIENT, "token_use": "id"}, "missing_claim"),
        ({"aud": CLIENT, "token_use": "id"}, "wrong_use"),
        ({"token_use": "refresh"}, "wrong_use"),
        ({"token_use": ["access"]}, "wrong_use"),
        ({"token_use": ABSENT}, "wrong_use"),
        ({"cognito:groups": "admin"}, "malformed_roles"),
        ({"iss": "https://cognito-idp.eu-central-1.amazonaws.com/another"}, "wrong_issuer"),
    ],
)
def test_any_other_token_is_refused(
    authorize: Authorize,
    issuer: Issuer,
    log: Callable[[], list[dict[str, Any]]],
    change: dict[str, object],
    reason: str,
) -> None:
    with raises_unauthorized():
        authorize(event_with(f"Bearer {issuer.token({**ACCESS, **change})}"))

    assert [line["reason"] for line in log()] == [reason]


def test_access_token_is_refused_without_cognito_settings(start: Start, issuer: Issuer) -> None:
    authorize = start(JWT_JWKS=json.dumps(issuer.jwks), JWT_AUDIENCE=CLIENT)

    with raises_unauthorized():
        authorize(event_with(f"Bearer {issuer.token(ACCESS)}"))
