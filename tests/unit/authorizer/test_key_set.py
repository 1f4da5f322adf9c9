"""The key set: usable keys, when it is fetched, and outages of the key server."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import key_set
import pytest
from key_set import (
    KEY_SET_COOL_DOWN_SECONDS,
    KEY_SET_MAX_AGE_SECONDS,
    MAX_KEY_SET_BYTES,
    NO_KEYS_COOL_DOWN_SECONDS,
    FetchedKeySet,
    KeySet,
    KeySetError,
    NoKeys,
    fetch,
    keys_from,
)

from order_payments.runtime.metric_names import Count
from order_payments.runtime.settings import InvalidSettings, JwtSettings
from tests.support.metrics import metrics_in
from tests.unit.authorizer.conftest import Start, event_with, raises_authorizer_failed, raises_unauthorized
from tests.unit.authorizer.issuer import ABSENT, Issuer, KeyServer, encode, public_jwk, to_json

# Usable keys


UNUSABLE: dict[str, Callable[[Issuer], object]] = {
    "symmetric": lambda _: {"kty": "oct", "k": encode(b"k" * 64), "kid": "main"},
    "a private RSA key": lambda issuer: public_jwk(issuer.rsa, "main", d="AQAB"),
    "a private elliptic curve's key": lambda issuer: public_jwk(issuer.p256, "main", d="AQAB"),
    "weak": lambda issuer: public_jwk(issuer.weak, "main"),
    "for encryption": lambda issuer: public_jwk(issuer.rsa, "main", use="enc"),
    "for signing only": lambda issuer: public_jwk(issuer.rsa, "main", key_ops=["sign"]),
    "operations no array": lambda issuer: public_jwk(issuer.rsa, "main", key_ops="verify"),
    "alg of another key type": lambda issuer: public_jwk(issuer.rsa, "main", alg="ES256"),
    "alg of an HMAC": lambda issuer: public_jwk(issuer.rsa, "main", alg="HS256"),
    "alg none": lambda issuer: public_jwk(issuer.rsa, "main", alg="none"),
    "alg no string": lambda issuer: public_jwk(issuer.rsa, "main", alg=["RS256"]),
    "alg of another curve": lambda issuer: public_jwk(issuer.p256, "main", alg="ES384"),
    "kid no string": lambda issuer: {**public_jwk(issuer.rsa, None), "kid": 1},
    "kty missing": lambda issuer: public_jwk(issuer.rsa, "main", kty=ABSENT),
    "kty unknown": lambda issuer: public_jwk(issuer.rsa, "main", kty="rsa"),
    "kty no string": lambda issuer: public_jwk(issuer.rsa, "main", kty=["RSA"]),
    "curve missing": lambda issuer: public_jwk(issuer.p256, "main", crv=ABSENT),
    "curve unknown": lambda issuer: public_jwk(issuer.p256, "main", crv="secp256k1"),
    "curve another": lambda issuer: public_jwk(issuer.p256, "main", crv="P-384"),
    "curve Ed448": lambda issuer: public_jwk(issuer.ed25519, "main", crv="Ed448"),
    "modulus missing": lambda issuer: public_jwk(issuer.rsa, "main", n=ABSENT),
    "modulus no string": lambda issuer: public_jwk(issuer.rsa, "main", n=1),
    "exponent 1": lambda issuer: public_jwk(issuer.rsa, "main", e="AQ"),
    "point off the curve": lambda issuer: public_jwk(issuer.p256, "main", y=encode(bytes(32))),
    "no object": lambda _: "main",
    "null": lambda _: None,
}


@pytest.mark.parametrize("jwk", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_unusable_key_is_skipped(issuer: Issuer, jwk: Callable[[Issuer], object]) -> None:
    keys = KeySet.parse(to_json({"keys": [jwk(issuer), public_jwk(issuer.p384, "good")]})).keys

    assert [key.kid for key in keys] == ["good"]


def test_key_without_alg_verifies_every_algorithm_of_its_type(issuer: Issuer) -> None:
    (key,) = KeySet.parse(to_json({"keys": [public_jwk(issuer.rsa, "main")]})).keys

    assert key.algorithms == {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}


def test_key_with_alg_verifies_only_that_algorithm(issuer: Issuer) -> None:
    (key,) = KeySet.parse(to_json({"keys": [public_jwk(issuer.rsa, "main", alg="PS384")]})).keys

    assert key.algorithms == {"PS384"}


def test_token_without_key_id_matches_no_key_of_many(issuer: Issuer) -> None:
    keys = KeySet.parse(to_json({"keys": [public_jwk(issuer.rsa, "one"), public_jwk(issuer.p256, "two")]}))

    assert keys.find(None, "ES256") is None


DUPLICATES: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "identical": ({}, {}),
    "once with alg": ({}, {"alg": "RS256"}),
    "with alg both times": ({"alg": "RS256"}, {"alg": "RS256"}),
    "with two algs": ({"alg": "RS512"}, {"alg": "RS256"}),
    "once with use": ({"use": "sig"}, {}),
    "once for encryption": ({"use": "enc"}, {}),
}


@pytest.mark.parametrize("kid", ["main", None], ids=["kid", "no kid"])
@pytest.mark.parametrize("members", DUPLICATES.values(), ids=DUPLICATES.keys())
def test_duplicate_key_is_used(
    issuer: Issuer, members: tuple[dict[str, object], dict[str, object]], kid: str | None
) -> None:
    listed = [public_jwk(issuer.rsa, "main", **each) for each in members]

    assert KeySet.parse(to_json({"keys": listed})).find(kid, "RS256") == issuer.rsa.public_key()


@pytest.mark.parametrize("kid", ["main", None], ids=["kid", "no kid"])
def test_different_keys_under_one_id_are_ambiguous(issuer: Issuer, kid: str | None) -> None:
    listed = [public_jwk(issuer.rsa, "main"), public_jwk(issuer.stranger, "main"), public_jwk(issuer.rsa, "main")]

    assert KeySet.parse(to_json({"keys": listed})).find(kid, "RS256") is None


INVALID_KEY_SETS = [
    "",
    "null",
    "[]",
    '"keys"',
    "{}",
    '{"keys": {}}',
    '{"keys": null}',
    "{",
    "<html>",
    "\ufeff{}",
    "[" * 100_000,
]


@pytest.mark.parametrize("document", INVALID_KEY_SETS, ids=lambda document: ascii(document[:20]))
def test_invalid_key_set_is_refused(document: str) -> None:
    with pytest.raises(KeySetError):
        KeySet.parse(document)


# When the key set is fetched


@dataclass
class FakeIssuer:
    """A fetched key set with a fake key server and a fake clock."""

    keys: list[dict[str, Any]]
    now: float = 1_000_000_000.0
    fetches: int = 0
    is_down: bool = False
    fetch_seconds: float = 0
    key_set: FetchedKeySet = field(init=False)

    def __post_init__(self) -> None:
        self.key_set = FetchedKeySet(self.fetch, lambda: self.now)

    def fetch(self) -> bytes:
        self.fetches += 1
        self.now += self.fetch_seconds
        if self.is_down:
            raise KeySetError("the key server failed: TimeoutError")
        return to_json({"keys": self.keys})

    def is_accepted(self, kid: str) -> bool:
        return self.key_set.find(kid, "RS256") is not None

    def replace_keys(self, issuer: Issuer) -> None:
        self.keys[:] = [public_jwk(issuer.stranger, "new")]


@pytest.fixture
def fake_issuer(issuer: Issuer) -> FakeIssuer:
    return FakeIssuer([public_jwk(issuer.rsa, "old")])


def test_known_key_is_not_fetched_again_within_the_cache_time(fake_issuer: FakeIssuer) -> None:
    for _ in range(100):
        fake_issuer.now += KEY_SET_MAX_AGE_SECONDS / 101
        assert fake_issuer.is_accepted("old")

    assert fake_issuer.fetches == 1


def test_key_set_is_fetched_again_after_the_cache_time(fake_issuer: FakeIssuer) -> None:
    fake_issuer.is_accepted("old")
    fake_issuer.now += KEY_SET_MAX_AGE_SECONDS
    fake_issuer.is_accepted("old")

    assert fake_issuer.fetches == 2


@pytest.mark.parametrize(("early", "accepted"), [(0, True), (1, False)], ids=["after the cool-down", "within it"])
def test_new_key_is_accepted_after_the_cool_down(
    fake_issuer: FakeIssuer, issuer: Issuer, early: float, *, accepted: bool
) -> None:
    fake_issuer.is_accepted("old")
    fake_issuer.now += KEY_SET_COOL_DOWN_SECONDS - early
    fake_issuer.keys.append(public_jwk(issuer.stranger, "new"))

    assert fake_issuer.is_accepted("new") is accepted


@pytest.mark.parametrize(("early", "accepted"), [(0, False), (1, True)], ids=["after the cache time", "within it"])
def test_removed_key_is_accepted_until_the_cache_expires(
    fake_issuer: FakeIssuer, issuer: Issuer, early: float, *, accepted: bool
) -> None:
    fake_issuer.is_accepted("old")
    fake_issuer.replace_keys(issuer)
    fake_issuer.now += KEY_SET_MAX_AGE_SECONDS - early

    assert fake_issuer.is_accepted("old") is accepted


def test_unknown_keys_cause_one_fetch_per_cool_down(fake_issuer: FakeIssuer) -> None:
    fake_issuer.is_accepted("old")
    fake_issuer.now += KEY_SET_COOL_DOWN_SECONDS
    for number in range(10_000):
        fake_issuer.is_accepted(f"unknown-{number}")

    assert fake_issuer.fetches == 2


def test_known_key_of_another_algorithm_causes_no_fetch(fake_issuer: FakeIssuer) -> None:
    fake_issuer.is_accepted("old")
    fake_issuer.now += KEY_SET_COOL_DOWN_SECONDS
    fake_issuer.key_set.find("old", "ES256")

    assert fake_issuer.fetches == 1


@pytest.mark.parametrize("kid", ["old", None])
def test_removed_key_is_refused_after_the_clock_was_set_back(
    fake_issuer: FakeIssuer, issuer: Issuer, kid: str | None
) -> None:
    fake_issuer.is_accepted("old")
    fake_issuer.replace_keys(issuer)
    fake_issuer.now -= 1_000_000

    assert fake_issuer.key_set.find(kid, "RS256") != issuer.rsa.public_key()


# Outages of the key server


def test_cached_keys_stay_valid_during_an_outage(fake_issuer: FakeIssuer) -> None:
    fake_issuer.is_accepted("old")
    fake_issuer.is_down = True
    fake_issuer.now += 100 * KEY_SET_MAX_AGE_SECONDS

    assert fake_issuer.is_accepted("old")


def test_failing_server_gets_one_request_per_cool_down(fake_issuer: FakeIssuer) -> None:
    fake_issuer.is_accepted("old")
    fake_issuer.is_down = True
    fake_issuer.now += KEY_SET_COOL_DOWN_SECONDS
    for number in range(10_000):
        fake_issuer.is_accepted(f"unknown-{number}")

    assert fake_issuer.fetches == 2


@pytest.mark.parametrize("fetch_seconds", [0, 2], ids=["at once", "after a timeout"])
def test_server_without_keys_so_far_gets_one_request_per_second(fake_issuer: FakeIssuer, fetch_seconds: float) -> None:
    fake_issuer.is_down, fake_issuer.fetch_seconds = True, fetch_seconds
    for _ in range(10_000):
        with pytest.raises(NoKeys):
            fake_issuer.is_accepted("old")

    assert fake_issuer.fetches == 1


def test_tokens_are_accepted_within_two_seconds_after_an_outage(fake_issuer: FakeIssuer) -> None:
    fake_issuer.is_down = True
    with pytest.raises(NoKeys):
        fake_issuer.is_accepted("old")
    fake_issuer.is_down = False
    fake_issuer.now += NO_KEYS_COOL_DOWN_SECONDS

    assert fake_issuer.is_accepted("old")
    assert NO_KEYS_COOL_DOWN_SECONDS < 2


@pytest.mark.parametrize("kid", ["old", None])
def test_empty_key_set_is_fetched_again_for_any_token(fake_issuer: FakeIssuer, kid: str | None) -> None:
    keys = list(fake_issuer.keys)
    fake_issuer.keys.clear()
    with pytest.raises(NoKeys):
        fake_issuer.key_set.find(kid, "RS256")
    fake_issuer.keys.extend(keys)
    fake_issuer.now += NO_KEYS_COOL_DOWN_SECONDS

    fake_issuer.key_set.find(kid, "RS256")

    assert fake_issuer.fetches == 2


@pytest.mark.parametrize("kid", ["old", "unknown", None])
def test_empty_key_set_fails_the_request(fake_issuer: FakeIssuer, kid: str | None) -> None:
    fake_issuer.keys.clear()

    with pytest.raises(NoKeys):
        fake_issuer.key_set.find(kid, "RS256")


def test_removed_key_is_refused_after_an_outage(fake_issuer: FakeIssuer, issuer: Issuer) -> None:
    fake_issuer.is_accepted("old")
    fake_issuer.is_down = True
    fake_issuer.now += KEY_SET_MAX_AGE_SECONDS
    fake_issuer.is_accepted("old")
    fake_issuer.is_down = False
    fake_issuer.replace_keys(issuer)
    fake_issuer.now += KEY_SET_COOL_DOWN_SECONDS

    assert not fake_issuer.is_accepted("old")


def test_failed_fetch_is_logged(fake_issuer: FakeIssuer, log: Callable[[], list[dict[str, Any]]]) -> None:
    fake_issuer.is_down = True
    with pytest.raises(NoKeys):
        fake_issuer.is_accepted("old")

    assert [(line["level"], line["reason"]) for line in log()] == [("ERROR", "the key server failed: TimeoutError")]


# From a real server


def test_tokens_are_verified_with_the_keys_of_the_server(start: Start, issuer: Issuer, key_server: KeyServer) -> None:
    key_server.serve(issuer.jwks)
    authorize = start(JWT_JWKS_URL=key_server.url)

    assert authorize(event_with(f"Bearer {issuer.token()}"))["principalId"] == "alice"


def test_start_sends_no_request_to_the_key_server(start: Start, key_server: KeyServer) -> None:
    start(JWT_JWKS_URL=key_server.url)

    assert key_server.requests == 0


def test_unverifiable_token_sends_no_request_to_the_key_server(start: Start, key_server: KeyServer) -> None:
    authorize = start(JWT_JWKS_URL=key_server.url)
    header = encode(to_json({"alg": "HS256", "kid": "unknown"}))

    with raises_unauthorized():
        authorize(event_with(f"Bearer {header}.e30.AAAA"))

    assert key_server.requests == 0


def test_request_fails_until_keys_were_fetched(
    start: Start, issuer: Issuer, key_server: KeyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    key_server.status = 503
    authorize = start(JWT_JWKS_URL=key_server.url)

    with raises_authorizer_failed():
        authorize(event_with(f"Bearer {issuer.token()}"))

    # The issuer's outage must not count as an internal error, which rolls a deployment back.
    assert metrics_in(capsys.readouterr().out) == {Count.AUTHORIZER_FAILED: [1.0]}


@pytest.mark.parametrize("token", ["not.a.token", "x", ""])
def test_malformed_token_is_unauthorized_even_without_keys(start: Start, key_server: KeyServer, token: str) -> None:
    key_server.status = 503
    authorize = start(JWT_JWKS_URL=key_server.url)

    with raises_unauthorized():
        authorize(event_with(f"Bearer {token}"))


def test_unknown_key_is_unauthorized_in_an_outage_with_cached_keys(
    start: Start, issuer: Issuer, key_server: KeyServer
) -> None:
    key_server.serve(issuer.jwks)
    authorize = start(JWT_JWKS_URL=key_server.url)
    authorize(event_with(f"Bearer {issuer.token()}"))
    key_server.status = 503

    with raises_unauthorized():
        authorize(event_with(f"Bearer {issuer.token(header={'kid': 'unknown'})}"))


def test_status_of_a_failed_fetch_is_logged(
    start: Start, issuer: Issuer, key_server: KeyServer, log: Callable[[], list[dict[str, Any]]]
) -> None:
    key_server.status = 403
    authorize = start(JWT_JWKS_URL=key_server.url)

    with raises_authorizer_failed():
        authorize(event_with(f"Bearer {issuer.token()}"))

    fetch_failed, request_failed = log()
    assert (fetch_failed["level"], fetch_failed["status"]) == ("ERROR", 403)
    assert (request_failed["level"], request_failed["reason"]) == ("ERROR", "no_keys")


def test_fetch_sends_its_own_user_agent(key_server: KeyServer) -> None:
    fetch(key_server.url)

    assert key_server.user_agents == ["order-payments"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 400, 404, 429, 500, 503])
def test_error_or_redirect_of_the_key_server_is_a_failed_fetch(key_server: KeyServer, status: int) -> None:
    key_server.status, key_server.headers = status, {"Location": key_server.url}

    with pytest.raises(KeySetError, match="responded with an error"):
        fetch(key_server.url)

    assert key_server.requests == 1


def test_key_set_is_read_up_to_the_maximum_size(key_server: KeyServer) -> None:
    key_server.body = b" " * MAX_KEY_SET_BYTES
    assert len(fetch(key_server.url)) == MAX_KEY_SET_BYTES

    key_server.body += b" "
    with pytest.raises(KeySetError, match="too large"):
        fetch(key_server.url)


def test_fetch_times_out_if_the_server_does_not_respond(key_server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_set, "KEY_SET_FETCH_TIMEOUT_SECONDS", 0.05)
    key_server.release.clear()

    with pytest.raises(KeySetError):
        fetch(key_server.url)


def test_bug_during_a_fetch_is_not_reported_as_a_server_failure(
    key_server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_set, "USER_AGENT", None)

    with pytest.raises(TypeError):
        fetch(key_server.url)


@pytest.mark.parametrize("has_slow_headers", [False, True])
def test_fetch_times_out_if_the_server_sends_slowly(
    key_server: KeyServer, monkeypatch: pytest.MonkeyPatch, has_slow_headers: bool
) -> None:
    monkeypatch.setattr(key_set, "KEY_SET_FETCH_TIMEOUT_SECONDS", 0.1)
    key_server.seconds_per_byte = 0.03
    key_server.has_slow_headers = has_slow_headers
    started = time.monotonic()

    with pytest.raises(KeySetError, match="timed out"):
        fetch(key_server.url)

    assert time.monotonic() - started < 1


def test_connection_error_is_a_failed_fetch(key_server: KeyServer) -> None:
    with pytest.raises(KeySetError, match="URLError"):
        fetch(key_server.url.replace("http://", "https://"))


def test_fetch_ignores_proxy_settings(key_server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    assert fetch(key_server.url) == key_server.body


# Settings


def settings(jwks: str | None = None, jwks_url: str | None = None) -> JwtSettings:
    return JwtSettings("https://issuer.example", "order-payments", "roles", jwks, jwks_url)


GOOD_URLS = [
    "https://issuer.example/.well-known/jwks.json",
    "HTTPS://issuer.example:8443/jwks",
    "http://127.0.0.1:8000/jwks",
    "http://localhost/jwks",
    "http://[::1]:8000/jwks",
]
BAD_URLS = [
    "http://issuer.example/jwks",
    "http://127.0.0.1@issuer.example/jwks",
    "http://127.0.0.1.issuer.example/jwks",
    "http://localhost.issuer.example/jwks",
    "http://169.254.169.254/latest/meta-data",
    "http://0.0.0.0/jwks",
    "ftp://127.0.0.1/jwks",
    "file:///etc/passwd",
    "data:application/json,{}",
    "https://",
    "https:///jwks",
    "https://[::1/jwks",
    "//issuer.example/jwks",
    "issuer.example/jwks",
]


@pytest.mark.parametrize("url", GOOD_URLS)
def test_https_and_local_urls_are_accepted(url: str) -> None:
    assert isinstance(keys_from(settings(jwks_url=url), lambda: 0.0), FetchedKeySet)


@pytest.mark.parametrize("url", BAD_URLS)
def test_any_other_url_stops_the_start(url: str) -> None:
    with pytest.raises(InvalidSettings, match="JWT_JWKS_URL must begin with https://"):
        keys_from(settings(jwks_url=url), lambda: 0.0)


@pytest.mark.parametrize("document", [*INVALID_KEY_SETS, '{"keys": []}'], ids=lambda document: ascii(document[:20]))
def test_invalid_key_set_in_the_settings_stops_the_start(document: str) -> None:
    with pytest.raises(InvalidSettings, match="JWT_JWKS must be a JWK set"):
        keys_from(settings(jwks=document), lambda: 0.0)


def test_key_set_without_usable_key_in_settings_stops_the_start(issuer: Issuer) -> None:
    with pytest.raises(InvalidSettings, match="at least one usable public key"):
        keys_from(settings(jwks=json.dumps({"keys": [public_jwk(issuer.weak, "weak")]})), lambda: 0.0)
