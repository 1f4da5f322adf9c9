"""The policy of each role. It must cover every route, because API Gateway caches it for the token."""

import json
import re
from itertools import chain, combinations

import iam_policy
import pytest
from iam_policy import build_response

from order_payments.api.routes import ROUTES, Route
from order_payments.domain.identity import Caller, Role

STAGE_ARN = "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5/v1"

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
TOKEN_ROUTES = [route for route in ROUTES if route.needs_token]
ROLES = [frozenset(some) for some in chain.from_iterable(combinations(Role, size) for size in range(4))]


def resources_for(roles: frozenset[Role], method_arn: str = f"{STAGE_ARN}/GET/orders") -> list[str]:
    response = build_response(Caller("alice", roles, 2_000_000_000), method_arn)
    resources: list[str] = response["policyDocument"]["Statement"][0]["Resource"]
    return resources


def is_allowed(resources: list[str], request: str) -> bool:
    """Return whether IAM matches the request: case-sensitive, `*` is any text with slashes, `?` any character."""
    patterns = (re.escape(each).replace(r"\*", ".*").replace(r"\?", ".") for each in resources)
    return any(re.fullmatch(pattern, request, re.DOTALL) for pattern in patterns)


def request_of(route: Route) -> str:
    """Return a request of the route, with an example id."""
    return f"{route.method}{re.sub(r'{[^}]+}', 'x-1', route.path)}"


def extends_an_id(request: str) -> bool:
    """Return whether the request extends a route that ends in an id. IAM matches it as a longer id."""
    return any(route.path.endswith("}") and request.startswith(f"{request_of(route)}/") for route in TOKEN_ROUTES)


def unrouted_requests() -> list[str]:
    """Return each method on each path and parent path of the routes, except the routes."""
    paths = {request_of(route).removeprefix(route.method) for route in TOKEN_ROUTES}
    above = {path[: end.start()] for path in paths for end in re.finditer("/", path)}
    requests = {f"{method}{path}" for method in METHODS for path in paths | above | {"/"}}
    return sorted(request for request in requests - {*map(request_of, ROUTES)} if not extends_an_id(request))


for_all_roles = pytest.mark.parametrize("roles", ROLES, ids=lambda roles: "+".join(sorted(roles)) or "no role")


@for_all_roles
@pytest.mark.parametrize("route", TOKEN_ROUTES, ids=lambda route: route.function)
@pytest.mark.parametrize("slash", ["", "/"], ids=["", "slash"])
def test_route_is_allowed_to_exactly_its_roles(route: Route, roles: frozenset[Role], slash: str) -> None:
    allowed = is_allowed(resources_for(roles), f"{STAGE_ARN}/{request_of(route)}{slash}")

    assert allowed is route.admits(roles)


@for_all_roles
def test_unrouted_requests_are_denied(roles: frozenset[Role]) -> None:
    requests = unrouted_requests()

    assert {"GET/", "DELETE/orders", "POST/orders/x-1", "PUT/orders/x-1/status", "PUT/products/x-1"} <= set(requests)
    assert not [each for each in requests if is_allowed(resources_for(roles), f"{STAGE_ARN}/{each}")]


def test_routes_without_a_token_are_denied() -> None:
    """Their functions authenticate callers by other means, so a token must not grant access."""
    resources = resources_for(frozenset(Role))

    for route in set(ROUTES) - set(TOKEN_ROUTES):
        assert not is_allowed(resources, f"{STAGE_ARN}/{request_of(route)}")


def test_access_to_an_item_does_not_grant_access_to_its_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """`*` in IAM also matches an empty id, and `GET /orders/` is the list."""
    item = Route("get_order", "GET", "/orders/{orderId}", frozenset({Role.ADMIN}))
    monkeypatch.setattr(iam_policy, "ROUTES", (*ROUTES, item))
    resources = resources_for(frozenset({Role.ADMIN}))

    assert is_allowed(resources, f"{STAGE_ARN}/GET/orders/x-1")
    assert not is_allowed(resources, f"{STAGE_ARN}/GET/orders/")


@pytest.mark.parametrize("other", ["a1b2c3d4e5/v2", "zzzzzzzzzz/v1", "a1b2c3d4e5/v1x"])
def test_other_apis_and_stages_are_denied(other: str) -> None:
    resources = resources_for(frozenset(Role))

    assert not is_allowed(resources, f"arn:aws:execute-api:eu-central-1:123456789012:{other}/GET/products")


def test_method_is_never_a_wildcard() -> None:
    methods = {resource.split("/")[2] for resource in resources_for(frozenset(Role))}

    assert methods == {"GET", "POST", "PUT"}


@pytest.mark.parametrize(
    "requested",
    [
        "GET/orders",
        "GET/",
        "PUT/admin/products/*",
        "GET/*",
        "GET/orders/../../v2/GET/x",
        "GET/orders/a\nb",
        "GET/arn:aws:execute-api:eu-central-1:123456789012:zzzzzzzzzz/v1/GET/orders",
        "GET/" + "x" * 1500,
    ],
)
def test_policy_does_not_depend_on_the_requested_route(requested: str) -> None:
    assert resources_for(frozenset({Role.BUYER}), f"{STAGE_ARN}/{requested}") == resources_for(frozenset({Role.BUYER}))


@pytest.mark.parametrize(
    "method_arn",
    [
        "",
        "*",
        "arn:aws:execute-api:*:123456789012:a1b2c3d4e5/v1/GET/orders",
        "arn:aws:execute-api:eu-central-1:*:a1b2c3d4e5/v1/GET/orders",
        "arn:aws:execute-api:eu-central-1:123456789012:*/v1/GET/orders",
        "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5/*/GET/orders",
        "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5/v1/*/orders",
        "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5/v?/GET/orders",
        "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5/v1/GET",
        "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5//GET/orders",
        "arn:aws:lambda:eu-central-1:123456789012:a1b2c3d4e5/v1/GET/orders",
        "xarn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5/v1/GET/orders",
        "arn:aws:execute-api:eu-central-1:12345678901\u0662:a1b2c3d4e5/v1/GET/orders",
    ],
)
def test_malformed_method_arn_is_refused(method_arn: str) -> None:
    with pytest.raises(ValueError, match="methodArn"):
        resources_for(frozenset({Role.BUYER}), method_arn)


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_policy_covers_every_aws_partition(partition: str) -> None:
    stage_arn = STAGE_ARN.replace("arn:aws:", f"arn:{partition}:")

    assert f"{stage_arn}/GET/products" in resources_for(frozenset(), f"{stage_arn}/GET/products")


def test_policy_has_the_form_of_a_lambda_authorizers_response() -> None:
    response = build_response(Caller("alice", frozenset(), 2_000_000_000), f"{STAGE_ARN}/GET/orders")

    assert json.loads(json.dumps(response)) == {
        "principalId": "alice",
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Action": "execute-api:Invoke",
                    "Effect": "Allow",
                    "Resource": [
                        f"{STAGE_ARN}/GET/{path}" for path in ("products", "products/", "products/*", "products/*/")
                    ],
                }
            ],
        },
        "context": {"sub": "alice", "loggedUserId": "alice", "roles": "", "exp": "2000000000"},
    }
