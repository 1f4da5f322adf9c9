"""What each role may call: the answer must be right for every route, since API Gateway keeps it for the token."""

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
WITH_TOKEN = [route for route in ROUTES if route.needs_token]
ROLES = [frozenset(some) for some in chain.from_iterable(combinations(Role, size) for size in range(4))]


def resources_for(roles: frozenset[Role], method_arn: str = f"{STAGE_ARN}/GET/orders") -> list[str]:
    answer = build_response(Caller("alice", roles, 2_000_000_000), method_arn)
    resources: list[str] = answer["policyDocument"]["Statement"][0]["Resource"]
    return resources


def is_allowed(resources: list[str], request: str) -> bool:
    """As IAM matches: `*` is any text, slashes too, `?` any character, and case matters."""
    patterns = (re.escape(each).replace(r"\*", ".*").replace(r"\?", ".") for each in resources)
    return any(re.fullmatch(pattern, request, re.DOTALL) for pattern in patterns)


def request_of(route: Route) -> str:
    """Return a request of the route, with an id in it."""
    return f"{route.method}{re.sub(r'{[^}]+}', 'x-1', route.path)}"


def lies_under_an_id(request: str) -> bool:
    """Return whether the request continues a route that ends in an id, which IAM cannot tell from a longer id."""
    return any(route.path.endswith("}") and request.startswith(f"{request_of(route)}/") for route in WITH_TOKEN)


def requests_of_no_route() -> list[str]:
    """Return each method on each path of a route and above it, unless that is a route."""
    paths = {request_of(route).removeprefix(route.method) for route in WITH_TOKEN}
    above = {path[: end.start()] for path in paths for end in re.finditer("/", path)}
    requests = {f"{method}{path}" for method in METHODS for path in paths | above | {"/"}}
    return sorted(request for request in requests - {*map(request_of, ROUTES)} if not lies_under_an_id(request))


of_any_roles = pytest.mark.parametrize("roles", ROLES, ids=lambda roles: "+".join(sorted(roles)) or "no role")


@of_any_roles
@pytest.mark.parametrize("route", WITH_TOKEN, ids=lambda route: route.function)
@pytest.mark.parametrize("slash", ["", "/"], ids=["", "slash"])
def test_a_route_is_allowed_to_exactly_its_roles(route: Route, roles: frozenset[Role], slash: str) -> None:
    allowed = is_allowed(resources_for(roles), f"{STAGE_ARN}/{request_of(route)}{slash}")

    assert allowed is route.admits(roles)


@of_any_roles
def test_what_is_no_route_is_allowed_to_nobody(roles: frozenset[Role]) -> None:
    requests = requests_of_no_route()

    assert {"GET/", "DELETE/orders", "POST/orders/x-1", "PUT/orders/x-1/status", "PUT/products/x-1"} <= set(requests)
    assert not [each for each in requests if is_allowed(resources_for(roles), f"{STAGE_ARN}/{each}")]


def test_a_route_that_needs_no_token_is_allowed_to_nobody() -> None:
    """Its function knows the callers by other means: a token must not open it."""
    resources = resources_for(frozenset(Role))

    for route in set(ROUTES) - set(WITH_TOKEN):
        assert not is_allowed(resources, f"{STAGE_ARN}/{request_of(route)}")


def test_an_item_for_more_roles_than_its_list_does_not_open_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """To IAM `*` matches an empty id, too: `GET /orders/` is the list."""
    item = Route("get_order", "GET", "/orders/{orderId}", frozenset({Role.ADMIN}))
    monkeypatch.setattr(iam_policy, "ROUTES", (*ROUTES, item))
    resources = resources_for(frozenset({Role.ADMIN}))

    assert is_allowed(resources, f"{STAGE_ARN}/GET/orders/x-1")
    assert not is_allowed(resources, f"{STAGE_ARN}/GET/orders/")


@pytest.mark.parametrize("other", ["a1b2c3d4e5/v2", "zzzzzzzzzz/v1", "a1b2c3d4e5/v1x"])
def test_no_other_api_and_no_other_stage_is_allowed(other: str) -> None:
    resources = resources_for(frozenset(Role))

    assert not is_allowed(resources, f"arn:aws:execute-api:eu-central-1:123456789012:{other}/GET/products")


def test_the_method_is_never_a_wildcard() -> None:
    methods = {resource.split("/")[2] for resource in resources_for(frozenset(Role))}

    assert methods == {"GET", "POST", "PUT"}


@pytest.mark.parametrize(
    "asked",
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
def test_what_was_asked_for_does_not_change_the_answer(asked: str) -> None:
    assert resources_for(frozenset({Role.BUYER}), f"{STAGE_ARN}/{asked}") == resources_for(frozenset({Role.BUYER}))


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
def test_an_arn_of_another_form_has_no_answer(method_arn: str) -> None:
    with pytest.raises(ValueError, match="methodArn"):
        resources_for(frozenset({Role.BUYER}), method_arn)


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_every_partition_of_aws_has_an_answer(partition: str) -> None:
    stage_arn = STAGE_ARN.replace("arn:aws:", f"arn:{partition}:")

    assert f"{stage_arn}/GET/products" in resources_for(frozenset(), f"{stage_arn}/GET/products")


def test_the_answer_is_json_in_the_form_of_an_authorizer() -> None:
    answer = build_response(Caller("alice", frozenset(), 2_000_000_000), f"{STAGE_ARN}/GET/orders")

    assert json.loads(json.dumps(answer)) == {
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
