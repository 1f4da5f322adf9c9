"""Authentication over HTTP, through API Gateway and the authorizer."""

import base64
import json
import time
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from local.stack import Stack
from order_payments.api.requests import TOKEN_LEEWAY_SECONDS
from order_payments.api.routes import ROUTES, Route
from tests.support.http_shop import HttpShop
from tests.support.shop import ADMIN, ALICE, Shop, Stock


def encode(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def tamper(token: str) -> str:
    """Return the token with an admin role added and its old signature."""
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return f"{header}.{encode({**claims, 'roles': ['admin', 'buyer']})}.{signature}"


def remove_signature(token: str, algorithm: str) -> str:
    """Return the token's claims without a signature."""
    return f"{encode({'alg': algorithm, 'typ': 'JWT'})}.{token.split('.')[1]}."


def sign_claims(stack: Stack, **changed: Any) -> str:
    """Return a token with changed claims, signed by the stack's issuer. `None` removes a claim."""
    claims = jwt.decode(stack.token(ALICE.sub, ALICE.roles), options={"verify_signature": False}) | changed
    kept = {name: value for name, value in claims.items() if value is not None}
    parts = f"{encode({'alg': 'RS256', 'kid': stack.identity.key_id})}.{encode(kept)}"
    signature = stack.identity.key.sign(parts.encode(), PKCS1v15(), SHA256())
    return f"{parts}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def bad_token(stack: Stack, case: str) -> str | None:
    good = stack.token(ALICE.sub, ALICE.roles)
    claims: dict[str, Any] = {
        "another issuer": {"iss": "https://issuer.example"},
        "another audience": {"aud": "another"},
        "no issuer": {"iss": None},
        "no audience": {"aud": None},
        "no expiry": {"exp": None},
        "no subject": {"sub": None},
        "numeric subject": {"sub": 1},
        "empty subject": {"sub": ""},
        "not valid yet": {"nbf": 4102444800},
        "roles as a string": {"roles": "buyer"},
    }
    if case in claims:
        return sign_claims(stack, **claims[case])
    tokens: dict[str, str | None] = {
        "none": None,
        "not a token": "x",
        "three words": "a b c",
        "expired": stack.token(ALICE.sub, ALICE.roles, expires_in=timedelta(seconds=-60)),
        "tampered": tamper(good),
        "alg none": remove_signature(good, "none"),
        "alg None": remove_signature(good, "None"),
        "truncated": good[:-10],
        "without signature": good.rpartition(".")[0] + ".",
        "twice": f"{good} {good}",
        "huge": good + "x" * 6000,
    }
    return tokens[case]


BAD_TOKENS = [
    "none",
    "not a token",
    "three words",
    "expired",
    "tampered",
    "alg none",
    "alg None",
    "truncated",
    "without signature",
    "twice",
    "huge",
    "another issuer",
    "another audience",
    "no issuer",
    "no audience",
    "no expiry",
    "no subject",
    "numeric subject",
    "empty subject",
    "not valid yet",
    "roles as a string",
]


@pytest.mark.parametrize("case", BAD_TOKENS)
def test_bad_token_is_unauthorized_and_pays_nothing(stack: Stack, shop: HttpShop, case: str) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 1))
    before = shop.status(order)

    reply = shop.send_with(bad_token(stack, case), "POST", f"/orders/{order}/payment")

    assert (reply.status, reply.code) == (401, "unauthorized")
    assert reply.headers["www-authenticate"].startswith("Bearer")
    assert reply.body["requestId"]
    assert shop.status(order) == before
    assert shop.stock(product) == Stock(stock=5, reserved=0, available=5)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.needs_token], ids=lambda route: route.function)
def test_every_route_requires_a_token(shop: HttpShop, route: Route) -> None:
    reply = shop.send_with(None, route.method, route.path.format(orderId="ord_" + "0" * 32, productId="tea"))

    assert (reply.status, reply.code) == (401, "unauthorized")


def test_other_authorization_scheme_is_unauthorized(stack: Stack, shop: HttpShop) -> None:
    token = stack.token(ALICE.sub, ALICE.roles)

    for authorization in (token, f"Basic {token}", f"Token {token}", "Bearer"):
        reply = shop.send_with(None, "GET", "/products/tea", headers={"Authorization": authorization})
        assert (reply.status, reply.code) == (401, "unauthorized")


def test_token_is_valid_for_every_route_of_its_roles(stack: Stack, shop: HttpShop) -> None:
    token = stack.token("erin", ["buyer"])
    product = shop.add_product(stock=5)
    items = json.dumps({"items": [{"productId": product, "quantity": 1}]})

    read = shop.send_with(token, "GET", f"/products/{product}")
    placed = shop.send_with(token, "POST", "/orders", content=items)
    paid = shop.send_with(token, "POST", f"/orders/{placed.body['orderId']}/payment")
    followed = shop.send_with(token, "GET", f"/orders/{placed.body['orderId']}/status")
    put = shop.send_with(token, "PUT", f"/admin/products/{product}", content="{}")

    assert [reply.status for reply in (read, placed, paid, followed, put)] == [200, 201, 200, 200, 403]


def test_expired_token_is_refused_despite_cached_authorization(stack: Stack, shop: HttpShop) -> None:
    product = shop.add_product()
    # Valid for two more seconds. API Gateway caches the authorizer's result for longer.
    token = stack.token(ALICE.sub, ALICE.roles, expires_in=timedelta(seconds=2 - TOKEN_LEEWAY_SECONDS))

    reply = shop.send_with(token, "GET", f"/products/{product}")
    assert reply.status == 200
    deadline = time.monotonic() + 10
    while reply.status == 200 and time.monotonic() < deadline:
        reply = shop.send_with(token, "GET", f"/products/{product}")

    assert (reply.status, reply.code) == (401, "unauthorized")
    assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", "/nothing"), ("DELETE", "/orders"), ("GET", "/admin")]
)
def test_unknown_route_responds_with_a_problem(shop: Shop, method: str, path: str) -> None:
    reply = shop.call(method, path, ADMIN)

    assert (reply.status, reply.code) == (404, "not_found")
