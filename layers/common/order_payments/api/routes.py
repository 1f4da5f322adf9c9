"""Table of the API's routes and their permitted callers.

The authorizer's policy, the functions' own checks, `docs/openapi.json` and the tests derive from it. A test compares it
with `template.yaml`. It imports only the standard library and the roles, because the authorizer's cold start loads it.
"""

from enum import Enum
from typing import NamedTuple

from order_payments.domain.identity import Role


class Callers(Enum):
    """Callers that are not defined by a role."""

    ANY_USER = "any signed-in user"
    STRIPE = "Stripe, which signs its requests and has no token"


ANY_USER, STRIPE = Callers
BUYERS = frozenset({Role.BUYER})
ADMINS = frozenset({Role.ADMIN})


class Route(NamedTuple):
    """A route: the folder in `functions/` that serves it, its method and path, and its callers (any of the roles)."""

    function: str
    method: str
    path: str
    callers: frozenset[Role] | Callers

    @property
    def needs_token(self) -> bool:
        """True if the authorizer protects the route."""
        return self.callers is not STRIPE

    def admits(self, roles: frozenset[Role]) -> bool:
        """Return whether a signed-in user with these roles may call the route."""
        return self.callers is ANY_USER or (isinstance(self.callers, frozenset) and bool(self.callers & roles))


ROUTES = (
    Route("create_order", "POST", "/orders", BUYERS),
    Route("list_orders", "GET", "/orders", BUYERS),
    Route("initiate_payment", "POST", "/orders/{orderId}/payment", BUYERS),
    Route("get_order_status", "GET", "/orders/{orderId}/status", BUYERS | ADMINS),
    Route("list_all_orders", "GET", "/admin/orders", ADMINS),
    Route("get_order_details", "GET", "/admin/orders/{orderId}", ADMINS),
    Route("override_order_status", "PUT", "/admin/orders/{orderId}/status", ADMINS),
    Route("refund_order", "POST", "/admin/orders/{orderId}/refunds", ADMINS),
    Route("list_refunds", "GET", "/admin/orders/{orderId}/refunds", ADMINS),
    Route("list_products", "GET", "/products", ANY_USER),
    Route("get_product", "GET", "/products/{productId}", ANY_USER),
    Route("put_product", "PUT", "/admin/products/{productId}", ADMINS),
    Route("adjust_stock", "POST", "/admin/products/{productId}/stock-adjustments", ADMINS),
    Route("stripe_webhook", "POST", "/webhooks/stripe", STRIPE),
)


def route_of(function: str) -> Route:
    """Return the route that the function in this folder serves."""
    (route,) = (route for route in ROUTES if route.function == function)
    return route
