"""Tokens that must be refused with the exception that API Gateway turns into a 401.

Most are attacks from RFC 8725 and from advisories on JWT libraries. Each test asserts the reason, because a token that
only crashes the authorizer is refused too, with the reason `unexpected_error`.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.utils import base64url_decode

from tests.unit.authorizer.conftest import Authorize, event_with, raises_unauthorized
from tests.unit.authorizer.issuer import (
    ABSENT,
    AUDIENCE,
    ISSUER,
    Issuer,
    KeyServer,
    Signer,
    compact,
    decode,
    encode,
    good_claims,
    public_jwk,
    to_json,
)

Forge = Callable[[Issuer], str]
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def hmac_with(secret: bytes, digest: str = "sha256") -> Signer:
    return lambda message: hmac.digest(secret, message, digest)


def signature(value: bytes) -> Signer:
    return lambda _: value


def with_alg(alg: object, sign: Signer | None = None) -> Forge:
    return lambda issuer: issuer.token(header={"alg": alg}, sign=sign or issuer.signer())


def with_header(**parameters: object) -> Forge:
    return lambda issuer: issuer.token(header=parameters, sign=issuer.signer())


def with_raw_header(header: bytes | str) -> Forge:
    return lambda issuer: issuer.token(header=header)


def with_claims(**claims: object) -> Forge:
    return lambda issuer: issuer.token(claims)


def with_raw_claim(name: str, text: str) -> Forge:
    """Return a forge whose claim is literal JSON text, in a form that `json.dumps` does not write."""
    return lambda issuer: issuer.token(to_json(good_claims(**{name: "HERE"})).replace(b'"HERE"', text.encode()))


def with_raw_payload(payload: bytes) -> Forge:
    return lambda issuer: issuer.token(payload)


def with_parts(change: Callable[[str, str, str], str]) -> Forge:
    """Return a forge that changes the parts of a valid token after it was signed."""

    def forge(issuer: Issuer) -> str:
        header, payload, signed = issuer.token().split(".")
        return change(header, payload, signed)

    return forge


def set_unused_bits(part: str) -> str:
    """Return other base64 of the same bytes: an unused bit of the last character is set."""
    assert len(part) % 4 in (2, 3), "the last character has no unused bits"
    return part[:-1] + ALPHABET[ALPHABET.index(part[-1]) | 1]


def with_unused_bits_in_header(issuer: Issuer) -> str:
    header = to_json({"alg": "RS256", "kid": "rsa", "x": ""})
    header = header.replace(b'"x":""', b'"x":"' + b"x" * ((1 - len(header)) % 3) + b'"')
    return issuer.token(header=set_unused_bits(encode(header)))


def with_unused_bits_in_payload(issuer: Issuer) -> str:
    payload = to_json(good_claims(x=""))
    payload = payload.replace(b'"x":""', b'"x":"' + b"x" * ((1 - len(payload)) % 3) + b'"')
    header = encode(to_json({"alg": "RS256", "kid": "rsa"}))
    return compact(header, set_unused_bits(encode(payload)), issuer.signer())


def with_der_signature(issuer: Issuer) -> str:
    sign: Signer = lambda message: issuer.p256.sign(message, ec.ECDSA(hashes.SHA256()))  # noqa: E731
    return issuer.token(header={"alg": "ES256", "kid": "p256"}, sign=sign)


def with_attackers_key_in_header(issuer: Issuer) -> str:
    return issuer.token(
        header={"kid": ABSENT, "jwk": public_jwk(issuer.stranger, "rsa")}, sign=issuer.signer("stranger")
    )


def with_nested_token(issuer: Issuer) -> str:
    return issuer.token(issuer.token().encode(), header={"cty": "JWT"})


def with_swapped_payload(issuer: Issuer) -> str:
    header, _, signed = issuer.token().split(".")
    return f"{header}.{encode(to_json(good_claims(sub='admin', roles=['admin'])))}.{signed}"


def as_json_serialization(issuer: Issuer) -> str:
    header, payload, signed = issuer.token().split(".")
    return json.dumps({"protected": header, "payload": payload, "signature": signed})


INVALID_ALGS: list[object] = [
    *("none", "None", "NONE", "nOnE", " none", "none ", "none\0", "\uff4eone", ""),
    *(None, 0, True, ["none"], ["RS256"], {}),
]
HOSTILE: dict[str, tuple[str, Forge]] = {
    # No signature, or one that needs no private key
    **{
        f"alg {alg!r}": ("wrong_algorithm", with_alg(alg))
        for alg in INVALID_ALGS
    },
    "alg missing": ("wrong_algorithm", with_header(alg=ABSENT)),
    "alg none, signature empty": (
        "no_signed_token",
        lambda issuer: issuer.token(header={"alg": "none"}, sign=signature(b"")),
    ),
    "alg none, two parts": (
        "no_signed_token",
        lambda issuer: issuer.token(header={"alg": "none"}, sign=signature(b"")).rstrip("."),
    ),
    "signature empty": ("no_signed_token", with_parts(lambda h, p, _: f"{h}.{p}.")),
    "HS256 with the public key's PEM": (
        "wrong_algorithm",
        lambda issuer: issuer.token(header={"alg": "HS256"}, sign=hmac_with(issuer.public_pem)),
    ),
    "HS384 with the public key's PEM": (
        "wrong_algorithm",
        lambda issuer: issuer.token(header={"alg": "HS384"}, sign=hmac_with(issuer.public_pem, "sha384")),
    ),
    "HS256 with the public key's modulus": (
        "wrong_algorithm",
        lambda issuer: issuer.token(
            header={"alg": "HS256"}, sign=hmac_with(base64url_decode(public_jwk(issuer.rsa, None)["n"]))
        ),
    ),
    "HS256 with the public key's JWK": (
        "wrong_algorithm",
        lambda issuer: issuer.token(header={"alg": "HS256"}, sign=hmac_with(to_json(public_jwk(issuer.rsa, "rsa")))),
    ),
    "HS256 with no secret": ("wrong_algorithm", with_alg("HS256", hmac_with(b""))),
    "HS512 with no secret": ("wrong_algorithm", with_alg("HS512", hmac_with(b"", "sha512"))),
    "hs256": ("wrong_algorithm", with_alg("hs256", hmac_with(b""))),
    "HS256 with a secret in the key set": (
        "wrong_algorithm",
        lambda issuer: issuer.token(header={"alg": "HS256", "kid": "oct"}, sign=hmac_with(b"k" * 64)),
    ),
    # Algorithms, and keys of another type
    **{f"alg {alg}": ("wrong_algorithm", with_alg(alg)) for alg in ("rs256", "RS1", "ES256K", "ES521", "dir", "RS257")},
    "alg RS256 with an elliptic curve's key": ("no_such_key", with_header(kid="p256")),
    "alg EdDSA with an RSA key": ("no_such_key", with_alg("EdDSA")),
    "alg ES384 with a key of P-256": ("no_such_key", with_header(alg="ES384", kid="p256")),
    "alg ES256 with a key of P-521": ("no_such_key", with_header(alg="ES256", kid="p521")),
    "another alg than the key's": (
        "no_such_key",
        lambda issuer: issuer.token(header={"alg": "PS256", "kid": "rs256-only"}, sign=issuer.signer("rsa", "PS256")),
    ),
    "alg PS256 over a signature of RS256": ("wrong_signature", with_alg("PS256")),
    "alg RS512 over a signature of RS256": ("wrong_signature", with_alg("RS512")),
    **{
        f"a key {kid}": ("no_such_key", with_header(kid=kid))
        for kid in ("for-encryption", "for-signing", "for-rsa-oaep", "private", "twice", "off-the-curve")
    },
    "a weak key": ("no_such_key", lambda issuer: issuer.token(header={"kid": "weak"})),
    # Key ids
    **{
        f"kid {kid[:30]!r}": ("no_such_key", with_header(kid=kid))
        for kid in (
            "unknown",
            "",
            "RSA",
            "rsa ",
            "rsa\0",
            "../../../../dev/null",
            "/dev/null",
            "file:///etc/passwd",
            "https://attacker.example/key",
            "rsa' OR '1'='1",
            "x' UNION SELECT 'key",
            "| cat /etc/passwd",
            "{{7*7}}",
            "\u202ersa",
            "\uff52\uff53\uff41",
            "k" * 4000,
        )
    },
    **{
        f"kid {type(kid).__name__}": ("malformed", with_header(kid=kid))
        for kid in (None, 0, 1.5, True, ["rsa"], {"rsa": 1})
    },
    "kid missing, many keys": ("no_such_key", with_header(kid=ABSENT)),
    # Unsupported extensions, types and serializations
    "crit unknown": ("unknown_extension", with_header(crit=["exp2"], exp2=1)),
    "crit of a parameter we know": ("unknown_extension", with_header(crit=["exp"], exp=1)),
    "crit empty": ("unknown_extension", with_header(crit=[])),
    "crit a string": ("unknown_extension", with_header(crit="b64")),
    "crit null": ("unknown_extension", with_header(crit=None)),
    "b64 false": ("unknown_extension", with_header(b64=False, crit=["b64"])),
    "b64 false, not critical": ("malformed", with_header(b64=False)),
    "b64 false, payload as it is": (
        "no_signed_token",
        lambda issuer: compact(
            encode(to_json({"alg": "RS256", "kid": "rsa", "b64": False, "crit": ["b64"]})),
            to_json(good_claims()).decode(),
            issuer.signer(),
        ),
    ),
    "b64 false, payload detached": (
        "no_signed_token",
        lambda issuer: compact(
            encode(to_json({"alg": "RS256", "kid": "rsa", "b64": False, "crit": ["b64"]})), "", issuer.signer()
        ),
    ),
    **{
        f"typ {kind!r}": ("wrong_type", with_header(typ=kind))
        for kind in ("logout+jwt", "dpop+jwt", "secevent+jwt", "JWE", "", None, 1, ["JWT"])
    },
    "nested": ("malformed", with_nested_token),
    "encrypted, five parts": ("no_signed_token", with_parts(lambda h, p, s: f"{h}.{p}.{s}.{p}.{s}")),
    "four parts": ("no_signed_token", with_parts(lambda h, p, s: f"{h}.{p}.{s}.{s}")),
    "header and payload only": ("no_signed_token", with_parts(lambda h, p, _: f"{h}.{p}")),
    "header missing": ("no_signed_token", with_parts(lambda _, p, s: f".{p}.{s}")),
    "payload missing": ("no_signed_token", with_parts(lambda h, _, s: f"{h}..{s}")),
    "nothing but dots": ("no_signed_token", lambda _: ".."),
    "no token": ("no_signed_token", lambda _: ""),
    "words": ("malformed", lambda _: "not.a.token"),
    "JSON serialization": ("no_signed_token", as_json_serialization),
    "too long": ("token_too_long", with_claims(x="x" * 8000)),
    "too long, and nonsense": ("token_too_long", lambda _: "." * 1_000_000),
    # JSON
    "header with a name twice": ("malformed", with_raw_header(b'{"alg":"RS256","kid":"rsa","alg":"RS256"}')),
    "header with alg none first": ("malformed", with_raw_header(b'{"alg":"none","kid":"rsa","alg":"RS256"}')),
    "header with a name twice, once escaped": (
        "malformed",
        with_raw_header(b'{"alg":"RS256","kid":"rsa","\\u006bid":"rsa"}'),
    ),
    "header with a name twice, further in": (
        "malformed",
        with_raw_header(b'{"alg":"RS256","kid":"rsa","x":{"y":1,"y":2}}'),
    ),
    "payload with sub twice": (
        "malformed",
        lambda issuer: issuer.token(to_json(good_claims())[:-1] + b',"sub":"admin"}'),
    ),
    "payload with roles twice": (
        "malformed",
        lambda issuer: issuer.token(b'{"roles":["admin"],' + to_json(good_claims())[1:]),
    ),
    **{
        f"header {header!r}": ("malformed", with_raw_header(header))
        for header in (b"[]", b'"RS256"', b"1", b"null", b"{", b"{}x", b"\xff\xfe", b"\xef\xbb\xbf{}")
    },
    "header in UTF-16": ("malformed", with_raw_header('{"alg":"RS256","kid":"rsa"}'.encode("utf-16"))),
    "header nested deeply": ("malformed", with_raw_header(b'{"x":' + b"[" * 5000)),
    "header with a number of 5000 digits": ("malformed", with_raw_header(b'{"x":' + b"9" * 5000 + b"}")),
    **{
        f"payload {payload!r}": ("malformed", with_raw_payload(payload))
        for payload in (b"[]", b'"alice"', b"1", b"null", b"{", b"{}x", b"\xff")
    },
    "payload with a byte order mark": (
        "malformed",
        lambda issuer: issuer.token(b"\xef\xbb\xbf" + to_json(good_claims())),
    ),
    "payload in UTF-16": (
        "malformed",
        lambda issuer: issuer.token(to_json(good_claims()).decode().encode("utf-16")),
    ),
    "payload nested deeply": ("malformed", with_raw_payload(b'{"x":' + b"[" * 5000)),
    # Base64
    "header with padding": ("no_signed_token", with_parts(lambda h, p, s: f"{h}=.{p}.{s}")),
    "signature with padding": ("no_signed_token", with_parts(lambda h, p, s: f"{h}.{p}.{s}==")),
    "header with unused bits set": ("malformed", with_unused_bits_in_header),
    "payload with unused bits set": ("malformed", with_unused_bits_in_payload),
    "signature with unused bits set": ("malformed", with_parts(lambda h, p, s: f"{h}.{p}.{set_unused_bits(s)}")),
    "signature of an impossible length": ("malformed", with_parts(lambda h, p, s: f"{h}.{p}.{s}AAA")),
    "plain base64's alphabet": (
        "no_signed_token",
        lambda issuer: issuer.token({"x": "\u00ff\u00fe??>>"}).replace("-", "+").replace("_", "/") + "+/",
    ),
    "a line break at the end": ("no_signed_token", with_parts(lambda h, p, s: f"{h}.{p}.{s}\n")),
    "a line break within": ("no_signed_token", with_parts(lambda h, p, s: f"{h}.{p[:9]}\r\n{p[9:]}.{s}")),
    "a space within": ("no_signed_token", with_parts(lambda h, p, s: f"{h}.{p[:9]} {p[9:]}.{s}")),
    "a space at the end": ("no_signed_token", with_parts(lambda h, p, s: f"{h}.{p}.{s} ")),
    "a tab before": ("no_signed_token", with_parts(lambda h, p, s: f"\t{h}.{p}.{s}")),
    "NUL within": ("no_signed_token", with_parts(lambda h, p, s: f"{h}\0.{p}.{s}")),
    "NUL at the end": ("no_signed_token", with_parts(lambda h, p, s: f"{h}.{p}.{s}\0")),
    "dots of another script": ("no_signed_token", with_parts(lambda h, p, s: f"{h}\uff0e{p}\uff0e{s}")),
    "letters of another script": ("no_signed_token", with_parts(lambda h, p, s: f"{h}.{p}.{s[:-1]}\u017f")),
    "a lone surrogate": ("no_signed_token", with_parts(lambda h, p, s: f"{h}.{p}.{s}\ud800")),
    # Signatures
    "another key's signature": ("wrong_signature", lambda issuer: issuer.token(sign=issuer.signer("stranger"))),
    "another key of the set": ("wrong_signature", with_header(kid="ed25519", alg="EdDSA")),
    "payload swapped": ("wrong_signature", with_swapped_payload),
    "header swapped": (
        "wrong_signature",
        with_parts(lambda _, p, s: f"{encode(to_json({'alg': 'RS256', 'kid': 'rsa'}))}.{p}.{s}"),
    ),
    "signature cut off": ("wrong_signature", with_parts(lambda h, p, s: f"{h}.{p}.{encode(decode(s)[:-1])}")),
    "signature of one byte": ("wrong_signature", lambda issuer: issuer.token(sign=signature(b"\0"))),
    "signature too long": ("wrong_signature", with_parts(lambda h, p, s: f"{h}.{p}.{encode(decode(s) + b'0')}")),
    "signature after a zero": (
        "wrong_signature",
        with_parts(lambda h, p, s: f"{h}.{p}.{encode(bytes(1) + decode(s))}"),
    ),
    "signature of zeros": ("wrong_signature", lambda issuer: issuer.token(sign=signature(bytes(256)))),
    "a hash as signature": (
        "wrong_signature",
        lambda issuer: issuer.token(sign=lambda message: hashlib.sha256(message).digest()),
    ),
    "ES256 with zeros (CVE-2022-21449)": (
        "wrong_signature",
        lambda issuer: issuer.token(header={"alg": "ES256", "kid": "p256"}, sign=signature(bytes(64))),
    ),
    "ES256 with ones": (
        "wrong_signature",
        lambda issuer: issuer.token(header={"alg": "ES256", "kid": "p256"}, sign=signature(b"\xff" * 64)),
    ),
    "ES256 in DER": ("wrong_signature", with_der_signature),
    "EdDSA with zeros": (
        "wrong_signature",
        lambda issuer: issuer.token(header={"alg": "EdDSA", "kid": "ed25519"}, sign=signature(bytes(64))),
    ),
    "the key in the header": ("no_such_key", with_attackers_key_in_header),
    # Claims
    "iss missing": ("missing_claim", with_claims(iss=ABSENT)),
    "iss null": ("missing_claim", with_claims(iss=None)),
    "iss another": ("wrong_issuer", with_claims(iss="https://attacker.example")),
    "iss with a trailing slash": ("wrong_issuer", with_claims(iss=f"{ISSUER}/")),
    "iss in capitals": ("wrong_issuer", with_claims(iss=ISSUER.upper())),
    "iss that starts with ours": ("wrong_issuer", with_claims(iss=f"{ISSUER}.attacker.example")),
    "iss a part of ours": ("wrong_issuer", with_claims(iss="https://")),
    "iss empty": ("wrong_issuer", with_claims(iss="")),
    "iss an array": ("wrong_issuer", with_claims(iss=[ISSUER])),
    "aud missing": ("missing_claim", with_claims(aud=ABSENT)),
    "aud null": ("missing_claim", with_claims(aud=None)),
    "aud empty": ("missing_claim", with_claims(aud="")),
    "aud an empty array": ("missing_claim", with_claims(aud=[])),
    "aud another": ("wrong_audience", with_claims(aud="another-service")),
    "aud others": ("wrong_audience", with_claims(aud=["another-service", "a-third"])),
    "aud that starts with ours": ("wrong_audience", with_claims(aud=f"{AUDIENCE}-2")),
    "aud a part of ours": ("wrong_audience", with_claims(aud=AUDIENCE[:5])),
    "aud a number": ("wrong_audience", with_claims(aud=1)),
    "aud an object": ("wrong_audience", with_claims(aud={AUDIENCE: True})),
    "aud ours and a number": ("wrong_audience", with_claims(aud=[AUDIENCE, 1])),
    "aud nested": ("wrong_audience", with_claims(aud=[[AUDIENCE]])),
    "exp missing": ("missing_claim", with_claims(exp=ABSENT)),
    "exp null": ("missing_claim", with_claims(exp=None)),
    "exp passed": ("expired", with_claims(exp=int(time.time()) - 60)),
    "exp zero": ("expired", with_claims(exp=0)),
    "exp negative": ("malformed_time", with_claims(exp=-1)),
    "exp a string": ("malformed_time", with_claims(exp=str(int(time.time()) + 600))),
    "exp true": ("malformed_time", with_claims(exp=True)),
    "exp an array": ("malformed_time", with_claims(exp=[int(time.time()) + 600])),
    "exp an object": ("malformed_time", with_claims(exp={})),
    "exp in milliseconds": ("malformed_time", with_claims(exp=int(time.time() * 1000) + 600_000)),
    "exp huge": ("malformed_time", with_claims(exp=10**30)),
    "exp huge, with exponent": ("malformed_time", with_raw_claim("exp", "1e300")),
    "exp beyond floating point": ("malformed_time", with_raw_claim("exp", "1e400")),
    "exp of 4500 digits": ("malformed", with_raw_claim("exp", "9" * 4500)),
    "exp NaN": ("malformed_time", with_raw_claim("exp", "NaN")),
    "exp Infinity": ("malformed_time", with_raw_claim("exp", "Infinity")),
    "nbf in the future": ("not_yet_valid", with_claims(nbf=int(time.time()) + 3600)),
    "nbf a string": ("malformed_time", with_claims(nbf="1")),
    "nbf null": ("malformed_time", with_claims(nbf=None)),
    "nbf false": ("malformed_time", with_claims(nbf=False)),
    "nbf NaN": ("malformed_time", with_raw_claim("nbf", "NaN")),
    "iat far in the future": ("not_yet_valid", with_claims(iat=int(time.time()) + 86400)),
    "iat a string": ("malformed_time", with_claims(iat="1")),
    "iat true": ("malformed_time", with_claims(iat=True)),
    "iat negative": ("malformed_time", with_claims(iat=-1)),
    "sub missing": ("missing_claim", with_claims(sub=ABSENT)),
    "sub null": ("missing_claim", with_claims(sub=None)),
    "sub empty": ("malformed_user_id", with_claims(sub="")),
    "sub a number": ("malformed", with_claims(sub=1)),
    "sub an array": ("malformed", with_claims(sub=["alice"])),
    "sub too long": ("malformed_user_id", with_claims(sub="a" * 256)),
    "sub with NUL": ("malformed_user_id", with_claims(sub="alice\0")),
    "sub with a line break": ("malformed_user_id", with_claims(sub="alice\nlevel=ERROR")),
    "sub with a direction mark": ("malformed_user_id", with_claims(sub="\u202eecila")),
    "sub with a zero-width space": ("malformed_user_id", with_claims(sub="alice\u200b")),
    "sub with a lone surrogate": ("malformed_user_id", with_claims(sub="alice\ud800")),
    "roles a string": ("malformed_roles", with_claims(roles="admin")),
    "roles an object": ("malformed_roles", with_claims(roles={"admin": True})),
    "roles null": ("malformed_roles", with_claims(roles=None)),
    "roles a number": ("malformed_roles", with_claims(roles=1)),
    "roles true": ("malformed_roles", with_claims(roles=True)),
    "roles with a number": ("malformed_roles", with_claims(roles=["buyer", 1])),
    "roles with null": ("malformed_roles", with_claims(roles=["buyer", None])),
    "roles nested": ("malformed_roles", with_claims(roles=[["admin"]])),
    "jti a number": ("malformed", with_claims(jti=1)),
}  # fmt: skip


@pytest.mark.parametrize(("reason", "forge"), HOSTILE.values(), ids=map(ascii, HOSTILE))
def test_hostile_token_is_unauthorized_and_not_logged(
    authorize: Authorize, issuer: Issuer, reason: str, forge: Forge, capsys: pytest.CaptureFixture[str]
) -> None:
    token = forge(issuer)

    with raises_unauthorized():
        authorize(event_with(f"Bearer {token}"))

    written = "".join(capsys.readouterr())
    assert [json.loads(line).get("reason") for line in written.splitlines()] == [reason]
    assert not [part for part in token.split(".") if len(part) > 10 and part in written]


def offer_own_key_in(parameter: str) -> Callable[[Issuer, KeyServer], str]:
    """Return a forge that signs with the attacker's key and offers the key or its URL in the header."""

    def forge(issuer: Issuer, attacker: KeyServer) -> str:
        offered: dict[str, object] = {
            "jku": attacker.url,
            "x5u": attacker.url,
            "jwk": public_jwk(issuer.stranger, "rsa"),
            "x5c": [base64.b64encode(b"certificate").decode()],
        }
        attacker.serve({"keys": [public_jwk(issuer.stranger, "rsa")]})
        return issuer.token(header={parameter: offered[parameter]}, sign=issuer.signer("stranger"))

    return forge


@pytest.mark.parametrize("parameter", ["jku", "x5u", "jwk", "x5c"])
def test_key_offered_by_a_token_is_neither_used_nor_fetched(
    authorize: Authorize, issuer: Issuer, key_server: KeyServer, parameter: str
) -> None:
    token = offer_own_key_in(parameter)(issuer, key_server)

    with raises_unauthorized():
        authorize(event_with(f"Bearer {token}"))

    assert key_server.requests == 0


@pytest.mark.parametrize("parameter", ["jku", "x5u", "jwk", "x5c"])
def test_key_offered_by_a_valid_token_is_ignored(
    authorize: Authorize, issuer: Issuer, key_server: KeyServer, parameter: str
) -> None:
    offered = {parameter: key_server.url}

    assert authorize(event_with(f"Bearer {issuer.token(header=offered)}"))["principalId"] == "alice"
