"""Who may do what with whose order: each route, for each role, on one's own order, another's, and none that exists."""

from dataclasses import dataclass
from itertools import chain, combinations
from typing import Any

import pytest

from tests.support.function_shop import routes
from tests.support.shop import BOB, Reply, Shop, User, new_buyer

OWN, ANOTHERS, NOBODYS = "own", "another's", "nobody's"
BUYER, SELLER, ADMIN = "buyer", "seller", "admin"
ROLES = [tuple(some) for some in chain.from_iterable(combinations((BUYER, SELLER, ADMIN), size) for size in range(4))]


@dataclass(frozen=True)
class Request:
    """A request of a route, and the statuses of its answer for whoever has one of the roles, by whose order it is."""

    route: tuple[str, str]
    body: Any
    by_role: dict[str, dict[str, int]]


PLACE = {"items": [{"productId": "tea", "quantity": 1}]}
PRODUCT = {"name": "Tea", "unitPrice": 450, "currency": "usd", "stock": 1000}
ADJUST = {"change": 1, "reason": "A delivery has arrived."}
SETTLE = {"status": "cancelled", "reason": "As agreed."}
EVERYBODY = {role: dict.fromkeys((OWN, ANOTHERS, NOBODYS), 200) for role in ("", BUYER, SELLER, ADMIN)}

OF_ORDERS = [
    Request(("POST", "/orders/{orderId}/payment"), None, {BUYER: {OWN: 200, ANOTHERS: 403, NOBODYS: 404}}),
    Request(
        ("GET", "/orders/{orderId}/status"),
        None,
        {BUYER: {OWN: 200, ANOTHERS: 403, NOBODYS: 404}, ADMIN: {OWN: 200, ANOTHERS: 200, NOBODYS: 404}},
    ),
    Request(("PUT", "/admin/orders/{orderId}/status"), SETTLE, {ADMIN: {OWN: 200, ANOTHERS: 200, NOBODYS: 404}}),
]
OF_NO_ORDER = [
    Request(("POST", "/orders"), PLACE, {BUYER: {OWN: 201}}),
    Request(("GET", "/orders"), None, {BUYER: {OWN: 200}}),
    Request(("GET", "/products"), None, EVERYBODY),
    Request(("GET", "/products/{productId}"), None, EVERYBODY),
    Request(("PUT", "/admin/products/{productId}"), PRODUCT, {ADMIN: {OWN: 200}}),
    Request(("POST", "/admin/products/{productId}/stock-adjustments"), ADJUST, {ADMIN: {OWN: 200}}),
]
CASES = [(request, whose) for request in OF_ORDERS for whose in (OWN, ANOTHERS, NOBODYS)] + [
    (request, OWN) for request in OF_NO_ORDER
]


def send(shop: Shop, request: Request, user: User, order: str) -> Reply:
    method, route = request.route
    return shop.call(method, route.format(orderId=order, productId="tea"), user, request.body)


def test_every_route_of_the_api_is_tried_here() -> None:
    assert {request.route for request in OF_ORDERS + OF_NO_ORDER} == set(routes()) - {("POST", "/webhooks/stripe")}


@pytest.mark.parametrize("roles", ROLES, ids=lambda roles: "+".join(roles) or "no role")
@pytest.mark.parametrize(
    ("request_", "whose"), CASES, ids=[f"{' '.join(request.route)} {whose}" for request, whose in CASES]
)
def test_a_caller_may_do_what_the_best_of_its_roles_may(
    shop: Shop, request_: Request, whose: str, roles: tuple[str, ...]
) -> None:
    shop.add_product(product_id="tea", stock=1000)
    user = User(new_buyer().sub, roles)
    buyer = User(user.sub if whose == OWN else BOB.sub, (BUYER,))
    order = "ord_" + "0" * 32 if whose == NOBODYS else shop.order(("tea", 1), user=buyer)
    before = None if whose == NOBODYS else shop.status(order, buyer)

    reply = send(shop, request_, user, order)

    granted = [request_.by_role[role][whose] for role in (*roles, "") if role in request_.by_role]
    assert reply.status == min(granted, default=403)
    if reply.status == 403:
        assert reply.code == "forbidden"
        assert "order" not in reply.body
        assert before is None or shop.status(order, buyer) == before
