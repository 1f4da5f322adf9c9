"""Identity provider of the local stack: one RSA key per run and the tokens signed with it."""

import json
import os
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

ISSUER = "https://identity.order-payments.test/"
AUDIENCE = "order-payments"
TOKEN_VALIDITY = timedelta(hours=12)

_ALGORITHM = "RS256"


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """Issuer of tokens that the stack trusts."""

    key: rsa.RSAPrivateKey
    key_id: str
    issuer: str = ISSUER
    audience: str = AUDIENCE

    @classmethod
    def generate(cls) -> Self:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return cls(key, f"local-{secrets.token_hex(8)}")

    def save(self, path: Path) -> None:
        """Save the key for `make token`, readable by its owner only."""
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)

    @classmethod
    def load(cls, path: Path, jwks: Mapping[str, Any], issuer: str, audience: str) -> Self:
        """Load the issuer of a running stack from its saved key and its published settings."""
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError(f"{path} holds no RSA key")
        return cls(key, str(jwks["keys"][0]["kid"]), issuer, audience)

    def jwks(self) -> dict[str, Any]:
        """Return the public key set (RFC 7517)."""
        public = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {"keys": [{**public, "use": "sig", "alg": _ALGORITHM, "kid": self.key_id}]}

    def jwks_json(self) -> str:
        return json.dumps(self.jwks(), separators=(",", ":"))

    def token(self, sub: str, roles: Iterable[str], *, expires_in: timedelta = TOKEN_VALIDITY, **claims: object) -> str:
        """Return a signed token. `claims` override or add claims; a value of `None` omits the claim."""
        now = int(time.time())
        payload: dict[str, object] = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": sub,
            "roles": list(roles),
            # An expired token must have been issued before it expired.
            "iat": min(now, now + int(expires_in.total_seconds())),
            "exp": now + int(expires_in.total_seconds()),
            **claims,
        }
        payload = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(payload, self.key, algorithm=_ALGORITHM, headers={"kid": self.key_id})
