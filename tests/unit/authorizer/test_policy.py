"""What each role may call: the answer must be right for every route, since API Gateway keeps it for the token."""

import json
import re
from itertools import chain, combinations

import pytest
from policy import answer_for

from order_payments.domain.identity import Caller, Role

STAGE_ARN = "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5/v1"

# The contract's routes, with an id in them, and who may call them. `None`: whoever is signed in.
REQUESTS: dict[str, set[Role | None]] = {
    "GET/products": {None},
    "GET/products/p-1": {None},
    "POST/orders": {Role.BUYER},
    "GET/orders": {Role.BUYER},
    "POST/orders/o-1/payment": {Role.BUYER},
    "GET/orders/o-1/status": {Role.BUYER, Role.ADMIN},
    "PUT/admin/orders/o-1/status": {Role.ADMIN},
    "PUT/admin/products/p-1": {Role.ADMIN},
    "POST/admin/products/p-1/stock-adjustments": {Role.ADMIN},
}
ROLES = [frozenset(some) for some in chain.from_iterable(combinations(Role, size) for size in range(4))]


def resources_for(roles: frozenset[Role], method_arn: str = f"{STAGE_ARN}/GET/orders") -> list[str]:
    answer = answer_for(Caller("alice", roles, 2_000_000_000), method_arn)
    resources: list[str] = answer["policyDocument"]["Statement"][0]["Resource"]
    return resources


def is_allowed(resources: list[str], request: str) -> bool:
    """As IAM matches: `*` is any text, slashes too, `?` any character, and case matters."""
    patterns = (re.escape(each).replace(r"\*", ".*").replace(r"\?", ".") for each in resources)
    return any(re.fullmatch(pattern, request, re.DOTALL) for pattern in patterns)


@pytest.mark.parametrize("roles", ROLES, ids=lambda roles: "+".join(sorted(roles)) or "no role")
@pytest.mark.parametrize("request_line", REQUESTS)
@pytest.mark.parametrize("slash", ["", "/"], ids=["", "slash"])
def test_a_route_is_allowed_to_exactly_its_roles(request_line: str, roles: frozenset[Role], slash: str) -> None:
    expected = bool((roles | {None}) & REQUESTS[request_line])

    assert is_allowed(resources_for(roles), f"{STAGE_ARN}/{request_line}{slash}") is expected


@pytest.mark.parametrize("roles", ROLES, ids=lambda roles: "+".join(sorted(roles)) or "no role")
@pytest.mark.parametrize(
    "request_line",
    [
        "GET/",
        "DELETE/orders",
        "GET/orders/o-1",
        "POST/orders/o-1",
        "GET/orders/o-1/payment",
        "POST/orders/o-1/status",
        "PUT/orders/o-1/status",
        "PUT/products/p-1",
        "PUT/admin/orders/o-1",
        "GET/admin/products/p-1",
        "POST/admin/products/p-1",
        "GET/admin/products/p-1/stock-adjustments",
    ],
)
def test_what_is_no_route_is_allowed_to_nobody(request_line: str, roles: frozenset[Role]) -> None:
    assert not is_allowed(resources_for(roles), f"{STAGE_ARN}/{request_line}")


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
    answer = answer_for(Caller("alice", frozenset(), 2_000_000_000), f"{STAGE_ARN}/GET/orders")

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
