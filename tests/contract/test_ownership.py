"""Access to each route with each combination of roles, for an own order, another buyer's and a missing one."""

import json
from itertools import chain, combinations

import pytest

from local.sam_local.sam import EVENTS
from order_payments.api.routes import ROUTES, Route
from order_payments.domain.identity import Role
from tests.support.shop import BOB, Reply, Shop, User, new_buyer

OWN, ANOTHERS, MISSING = "own", "another's", "missing"
ROLES = [frozenset(some) for some in chain.from_iterable(combinations(Role, size) for size in range(4))]
CASES = [
    (route, whose)
    for route in ROUTES
    if route.needs_token
    for whose in ((OWN, ANOTHERS, MISSING) if "{orderId}" in route.path else (OWN,))
]


def send(shop: Shop, route: Route, user: User, order: str) -> Reply:
    """Send the body of the route's sample event, for `order`."""
    body = json.loads((EVENTS / f"{route.function}.json").read_text())["body"]
    return shop.send(route.method, route.path.format(orderId=order, productId="green-tea"), user, content=body)


def expected_status(route: Route, whose: str, roles: frozenset[Role]) -> int:
    """Return the expected HTTP status: only its buyer may use an order, and admins on routes that admit them."""
    if not route.admits(roles):
        return 403
    if whose == MISSING:
        return 404
    is_open_to_admins = Role.ADMIN in roles and isinstance(route.callers, frozenset) and Role.ADMIN in route.callers
    if whose == ANOTHERS and not is_open_to_admins:
        return 403
    return 201 if route.function in {"create_order", "refund_order"} else 200


@pytest.mark.parametrize(
    "roles",
    [
        # The authorizer's policy decides by role. Combinations of roles only matter in the handlers.
        pytest.param(
            roles,
            id="+".join(sorted(roles)) or "no role",
            marks=[pytest.mark.every_case_over_http] if len(roles) <= 1 else [],
        )
        for roles in ROLES
    ],
)
@pytest.mark.parametrize(("route", "whose"), CASES, ids=[f"{route.function} {whose}" for route, whose in CASES])
def test_caller_has_the_permissions_of_all_its_roles(
    shop: Shop, route: Route, whose: str, roles: frozenset[Role]
) -> None:
    shop.add_product(product_id="green-tea", stock=1000)
    user = User(new_buyer().sub, tuple(roles))
    buyer = User(user.sub if whose == OWN else BOB.sub, (Role.BUYER,))
    order = "ord_" + "0" * 32 if whose == MISSING else shop.order(("green-tea", 1), user=buyer)
    if whose != MISSING and route.function == "refund_order":
        assert shop.pay(order, user=buyer).status == 200
    before = None if whose == MISSING else shop.status(order, buyer)

    reply = send(shop, route, user, order)

    assert reply.status == expected_status(route, whose, roles)
    if reply.status == 403:
        assert reply.code == "forbidden"
        assert "order" not in reply.body
        assert before is None or shop.status(order, buyer) == before
