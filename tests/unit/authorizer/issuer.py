"""An issuer of valid and forged tokens with real keys, and a server that publishes its key set."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import get_default_algorithms

ISSUER = "https://issuer.example"
AUDIENCE = "order-payments"
ALGORITHMS = get_default_algorithms()

Signer = Callable[[bytes], bytes]


class Absent:
    """Marker for a header parameter or a claim to omit."""


ABSENT = Absent()


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def compact(header: str, payload: str, sign: Signer) -> str:
    """Return a token from an encoded header and payload, with their signature."""
    return f"{header}.{payload}.{encode(sign(f'{header}.{payload}'.encode()))}"


def public_jwk(private_key: Any, kid: str | None, **members: object) -> dict[str, Any]:
    for algorithm in ("RS256", "ES256", "EdDSA"):
        try:
            jwk = ALGORITHMS[algorithm].to_jwk(private_key.public_key(), as_dict=True)
        except (jwt.InvalidKeyError, AttributeError):
            continue
        key_id = {} if kid is None else {"kid": kid}
        return {name: value for name, value in {**jwk, **key_id, **members}.items() if value is not ABSENT}
    raise AssertionError("this kind of key has no JWK")


@dataclass(frozen=True)
class Issuer:
    """Keys by their `kid`, and tokens signed with them."""

    rsa: RSAPrivateKey
    stranger: RSAPrivateKey
    weak: RSAPrivateKey
    p256: ec.EllipticCurvePrivateKey
    p384: ec.EllipticCurvePrivateKey
    p521: ec.EllipticCurvePrivateKey
    ed25519: Ed25519PrivateKey

    @classmethod
    def create(cls) -> "Issuer":
        return cls(
            rsa=generate_private_key(65537, 2048),
            stranger=generate_private_key(65537, 2048),
            weak=generate_private_key(65537, 1024),  # noqa: S505 - to be refused
            p256=ec.generate_private_key(ec.SECP256R1()),
            p384=ec.generate_private_key(ec.SECP384R1()),
            p521=ec.generate_private_key(ec.SECP521R1()),
            ed25519=Ed25519PrivateKey.generate(),
        )

    @property
    def jwks(self) -> dict[str, Any]:
        """Return the published key set: valid keys, and keys that must not verify any token."""
        return {
            "keys": [
                public_jwk(self.rsa, "rsa", use="sig", key_ops=ABSENT),
                public_jwk(self.p256, "p256", use="sig", alg="ES256"),
                public_jwk(self.p384, "p384"),
                public_jwk(self.p521, "p521"),
                public_jwk(self.ed25519, "ed25519"),
                public_jwk(self.rsa, "rs256-only", alg="RS256"),
                public_jwk(self.rsa, "for-encryption", use="enc", key_ops=ABSENT),
                public_jwk(self.rsa, "for-signing", key_ops=["sign"]),
                public_jwk(self.rsa, "for-rsa-oaep", alg="RSA-OAEP"),
                public_jwk(self.weak, "weak"),
                {**ALGORITHMS["RS256"].to_jwk(self.rsa, as_dict=True), "kid": "private", "key_ops": ["verify"]},
                public_jwk(self.rsa, "twice"),
                public_jwk(self.stranger, "twice"),
                {"kty": "oct", "k": encode(b"k" * 64), "kid": "oct", "alg": "HS256"},
                {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "off-the-curve"},
            ]
        }

    @property
    def public_pem(self) -> bytes:
        return self.rsa.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def key(self, kid: str) -> Any:
        return getattr(self, kid, self.rsa)

    def signer(self, kid: str = "rsa", algorithm: str = "RS256") -> Signer:
        return lambda message: ALGORITHMS[algorithm].sign(message, self.key(kid))

    def token(
        self,
        claims: Mapping[str, object] | bytes = MappingProxyType({}),
        header: Mapping[str, object] | bytes | str = MappingProxyType({}),
        sign: Signer | None = None,
    ) -> str:
        """Return a valid token with the given changes.

        `ABSENT` omits a claim or header parameter. Bytes replace the whole JSON, and a `str` the encoded header.
        """
        parameters = {"alg": "RS256", "typ": "JWT", "kid": "rsa", **(header if isinstance(header, Mapping) else {})}
        if sign is None:
            sign = self.signer(str(parameters["kid"]), str(parameters["alg"]))
        if isinstance(header, Mapping):
            header = to_json({name: value for name, value in parameters.items() if value is not ABSENT})
        if isinstance(header, bytes):
            header = encode(header)
        return compact(header, encode(claims if isinstance(claims, bytes) else to_json(good_claims(**claims))), sign)


def good_claims(**changes: object) -> dict[str, Any]:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "roles": ["buyer"],
        "iat": now - 60,
        "exp": now + 600,
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not ABSENT}


def to_json(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


@dataclass
class KeyServer:
    """The responses of a local key server, and the requests that it received."""

    url: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b'{"keys": []}'
    seconds_per_byte: float = 0
    has_slow_headers: bool = False
    requests: int = 0
    user_agents: list[str | None] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)

    def serve(self, jwks: object) -> None:
        self.body = to_json(jwks)


@contextmanager
def run_key_server() -> Iterator[KeyServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests += 1
            state.user_agents.append(self.headers.get("User-Agent"))
            if not state.release.wait(timeout=10):
                return
            self.send_response(state.status)
            for name, value in {"Content-Length": str(len(state.body)), **state.headers}.items():
                self.send_header(name, value)
            if not state.has_slow_headers:
                self.end_headers()
            if not state.seconds_per_byte:
                self.wfile.write(state.body)
                return
            with suppress(OSError):  # The client may have disconnected.
                slowly = b"X-Slow: " + 50 * b"x" if state.has_slow_headers else state.body
                self.flush_headers()
                for byte in slowly:
                    threading.Event().wait(state.seconds_per_byte)
                    self.wfile.write(bytes([byte]))

        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state = KeyServer(url=f"http://127.0.0.1:{server.server_port}/jwks.json")
        state.release.set()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            state.release.set()
            server.shutdown()
            thread.join()
