"""The tokens and keys of the local identity provider."""

import stat
from datetime import timedelta
from pathlib import Path

import jwt
import pytest

from local.tokens import TokenIssuer


@pytest.fixture(scope="module")
def identity() -> TokenIssuer:
    return TokenIssuer.generate()


def decode(identity: TokenIssuer, token: str) -> dict[str, object]:
    keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(identity.jwks()).keys}
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims: dict[str, object] = jwt.decode(
        token, key, algorithms=["RS256"], issuer=identity.issuer, audience=identity.audience
    )
    return claims


def test_token_verifies_with_the_published_keys(identity: TokenIssuer) -> None:
    claims = decode(identity, identity.token("alice", ["buyer", "seller"]))
    assert claims["sub"] == "alice"
    assert claims["roles"] == ["buyer", "seller"]


def test_token_can_be_expired(identity: TokenIssuer) -> None:
    with pytest.raises(jwt.ExpiredSignatureError):
        decode(identity, identity.token("alice", ["buyer"], expires_in=timedelta(seconds=-60)))


def test_claims_can_be_replaced_and_omitted(identity: TokenIssuer) -> None:
    claims = jwt.decode(identity.token("a", [], aud="else", exp=None), options={"verify_signature": False})
    assert claims["aud"] == "else"
    assert "exp" not in claims


def test_key_set_has_no_private_members(identity: TokenIssuer) -> None:
    assert set(identity.jwks()["keys"][0]) == {"kty", "use", "key_ops", "alg", "kid", "n", "e"}


def test_saved_key_is_readable_by_its_owner_only_and_signs_the_same(identity: TokenIssuer, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("left over, readable by all")
    identity.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    loaded = TokenIssuer.load(path, identity.jwks(), identity.issuer, identity.audience)
    assert decode(identity, loaded.token("alice", ["buyer"]))["sub"] == "alice"
