"""Keys that verify tokens: read from a JWK set, which is fetched and cached if it has a URL.

JWK sets: RFC 7517, and RFC 7518, section 6. Ed25519 keys: RFC 8037.
"""

import http.client
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from log_lines import write_line

from order_payments.runtime.cached_value import CachedValue
from order_payments.runtime.settings import InvalidSettings, JwtSettings

if TYPE_CHECKING:
    from jwt.algorithms import AllowedPublicKeys

_RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})

# The algorithms that a key's type and curve allow. No other algorithm is accepted: not `none`, and not HMAC, for which
# the public key would be the secret (RFC 8725, section 2.1).
_ALGORITHMS_OF_KEY_TYPE = {
    ("RSA", None): _RSA_ALGORITHMS,
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
}
ALLOWED_ALGORITHMS = frozenset[str]().union(*_ALGORITHMS_OF_KEY_TYPE.values())
MINIMUM_RSA_BITS = 2048

KEY_SET_MAX_AGE_SECONDS = 600
KEY_SET_COOL_DOWN_SECONDS = 30
NO_KEYS_COOL_DOWN_SECONDS = 1
KEY_SET_FETCH_TIMEOUT_SECONDS = 2
"""For the whole fetch, so that a server that sends its response byte by byte also times out."""

USER_AGENT = "order-payments"
"""Issuers behind a CDN may respond 403 to `Python-urllib`."""

MAX_KEY_SET_BYTES = 64 * 1024
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


class KeySetError(Exception):
    """The document is not a JWK set, or the key server did not return one.

    `status` is the key server's HTTP status, if it responded with an error.
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class NoKeys(Exception):
    """No key is available, so no token can be verified."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, and the algorithms that its type, curve and `alg` allow."""

    kid: str | None
    public_key: "AllowedPublicKeys"
    algorithms: frozenset[str]


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of a JWK set."""

    keys: tuple[VerificationKey, ...] = ()

    @classmethod
    def parse(cls, document: str | bytes) -> Self:
        """Parse a JWK set. Unusable keys are skipped (RFC 7517, section 5), so the result may be empty."""
        try:
            jwks = json.loads(document)["keys"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise KeySetError("not a JSON object with keys") from error
        if not isinstance(jwks, list):
            raise KeySetError("the keys are not an array")
        return cls(tuple(key for jwk in jwks if (key := _usable_key(jwk)) is not None))

    def has_key(self, kid: str) -> bool:
        return any(key.kid == kid for key in self.keys)

    def find(self, kid: str | None, algorithm: str) -> "AllowedPublicKeys | None":
        """Return the only key with this id that allows the algorithm. Without an id, the set must have one key.

        A key may be listed several times, such as with and without `alg`. Different keys with one id are ambiguous, and
        none of them is used.
        """
        if kid is None and not _are_same_key(self.keys):
            return None
        matches = [key for key in self.keys if kid in (None, key.kid) and algorithm in key.algorithms]
        return matches[0].public_key if matches and _are_same_key(matches) else None


class FetchedKeySet:
    """A key set that is fetched from a server and cached.

    It is fetched when it is older than `KEY_SET_MAX_AGE_SECONDS`, so that a removed key expires, and when a token names
    an unknown key, so that a new key works at once. There is at most one fetch in `KEY_SET_COOL_DOWN_SECONDS`, even if
    callers invent key ids or the server fails. While the server fails, the last keys stay in use. While there are no
    keys, no token can be verified, and the pause between fetches is `NO_KEYS_COOL_DOWN_SECONDS`. `clock` returns
    seconds since the epoch.
    """

    def __init__(self, fetch: Callable[[], bytes], clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._cached = CachedValue(KeySet(), fetch=self._fetch_key_set, clock=clock)

    def find(self, kid: str | None, algorithm: str) -> "AllowedPublicKeys | None":
        key_set = self._cached.value
        is_fresh = self._cached.is_younger_than(KEY_SET_MAX_AGE_SECONDS)
        if not is_fresh or not key_set.keys or (kid is not None and not key_set.has_key(kid)):
            self._cached.refresh(pause_seconds=KEY_SET_COOL_DOWN_SECONDS if key_set.keys else NO_KEYS_COOL_DOWN_SECONDS)
        if not self._cached.value.keys:
            raise NoKeys
        return self._cached.value.find(kid, algorithm)

    def _fetch_key_set(self) -> KeySet | None:
        try:
            key_set = KeySet.parse(self._fetch())
        except KeySetError as error:
            write_line("ERROR", "key set fetch failed", reason=str(error), status=error.status)
            return None
        if not key_set.keys:
            write_line("ERROR", "key set has no usable key")
        return key_set


def keys_from(settings: JwtSettings, clock: Callable[[], float]) -> KeySet | FetchedKeySet:
    """Return the configured keys: the key set itself, or one that is fetched on first use."""
    if settings.jwks is not None:
        try:
            key_set = KeySet.parse(settings.jwks)
        except KeySetError:
            key_set = KeySet()
        if not key_set.keys:
            raise InvalidSettings("JWT_JWKS must be a JWK set with at least one usable public key")
        return key_set
    url = settings.jwks_url or ""
    if not _is_trustworthy(url):
        raise InvalidSettings("JWT_JWKS_URL must begin with https:// (http:// only for localhost)")
    return FetchedKeySet(lambda: fetch(url), clock)


def fetch(url: str) -> bytes:
    """Return the document at `url`, without following redirects or using a proxy. Raises `KeySetError`.

    It runs in a thread of its own, because a socket's timeout restarts with each byte and does not bound the DNS
    lookup.
    """
    outcome: list[bytes | Exception] = []

    def run() -> None:
        try:
            outcome.append(_download(url))
        except Exception as error:  # noqa: BLE001 - raised below, in the calling thread
            outcome.append(error)

    thread = threading.Thread(target=run, name="key-set", daemon=True)
    thread.start()
    thread.join(KEY_SET_FETCH_TIMEOUT_SECONDS)
    if not outcome:
        raise KeySetError("the key server timed out")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def _download(url: str) -> bytes:
    opener = urllib.request.build_opener(_NoRedirects, urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT})  # noqa: S310 - `keys_from` checked it
    try:
        with opener.open(request, timeout=KEY_SET_FETCH_TIMEOUT_SECONDS) as response:
            document: bytes = response.read(MAX_KEY_SET_BYTES + 1)
    except urllib.error.HTTPError as error:
        error.close()
        raise KeySetError("the key server responded with an error", status=error.code) from error
    except (OSError, http.client.HTTPException) as error:
        raise KeySetError(f"the key server failed: {type(error).__name__}") from error
    if len(document) > MAX_KEY_SET_BYTES:
        raise KeySetError("the key set is too large")
    return document


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, which could lead to plain HTTP or into our own network."""

    def redirect_request(self, *_arguments: Any, **_named_arguments: Any) -> None:
        return None


def _are_same_key(keys: Sequence[VerificationKey]) -> bool:
    return all(key.public_key == keys[0].public_key for key in keys)


def _is_trustworthy(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK_HOSTS)
    )


def _usable_key(jwk: object) -> VerificationKey | None:
    """Return the JWK as a key if it is readable, public, meant for signatures and strong enough, else None."""
    if not isinstance(jwk, dict):
        return None
    kid, key_operations = jwk.get("kid"), jwk.get("key_ops", ["verify"])
    if not isinstance(kid, str | None) or not isinstance(key_operations, list):
        return None
    # A published private key is compromised.
    if "d" in jwk or jwk.get("use", "sig") != "sig" or "verify" not in key_operations:
        return None
    try:
        algorithms = _ALGORITHMS_OF_KEY_TYPE[jwk["kty"], jwk.get("crv")]
        if "alg" in jwk:
            algorithms &= {jwk["alg"]}
        # All algorithms of a key type parse the key in the same way.
        public_key = jwt.PyJWK(jwk, algorithm=min(algorithms)).key
    except (KeyError, TypeError, ValueError, jwt.PyJWTError):
        return None
    if isinstance(public_key, RSAPublicKey) and public_key.key_size < MINIMUM_RSA_BITS:
        return None
    return VerificationKey(kid, public_key, algorithms)
