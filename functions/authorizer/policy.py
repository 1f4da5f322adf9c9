"""What a caller may do: one table of routes, and the IAM policy that says it to API Gateway."""

import re
from typing import Any

from order_payments.domain.identity import Caller, Role

_EVERYONE = frozenset(Role) | {None}

# Who may call what. The functions check the roles again; this table keeps everybody else away from them.
ROUTES: tuple[tuple[str, str, frozenset[Role | None]], ...] = (
    ("GET", "products", _EVERYONE),
    ("GET", "products/*", _EVERYONE),
    ("POST", "orders", frozenset({Role.BUYER})),
    ("GET", "orders", frozenset({Role.BUYER})),
    ("POST", "orders/*/payment", frozenset({Role.BUYER})),
    ("GET", "orders/*/status", frozenset({Role.BUYER, Role.ADMIN})),
    ("PUT", "admin/orders/*/status", frozenset({Role.ADMIN})),
    ("PUT", "admin/products/*", frozenset({Role.ADMIN})),
    ("POST", "admin/products/*/stock-adjustments", frozenset({Role.ADMIN})),
)

# What follows the stage is the client's raw input: it may hold anything, wildcards too, so it goes no further.
_METHOD_ARN = re.compile(
    r"(?P<stage_arn>arn:aws[a-z-]*:execute-api:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9]+/[A-Za-z0-9_-]+)/[A-Z]+/.*",
    re.DOTALL,
)


def answer_for(caller: Caller, method_arn: str) -> dict[str, Any]:
    """The authorizer's answer: the caller, handed on to the functions, and every route that its roles may call.

    Every route, not just the one asked for: API Gateway keeps the answer for the token and applies it to that
    token's next requests, whatever their route. In IAM `*` also matches `/`, so that the paths in `ROUTES` cover more
    than they show; nothing else of this API lies there. Raises `ValueError` for an ARN that is no method's.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html
    """
    match = _METHOD_ARN.fullmatch(method_arn)
    if match is None:
        raise ValueError("methodArn names no method of an API's stage")
    # A caller without a role is still somebody: `None` stands for being signed in.
    granted = caller.roles | {None}
    return {
        "principalId": caller.user_id,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Action": "execute-api:Invoke",
                    "Effect": "Allow",
                    "Resource": [
                        f"{match['stage_arn']}/{method}/{path}{slash}"
                        for method, path, roles in ROUTES
                        if roles & granted
                        # A path is the same with a slash after it, but its ARN is not.
                        for slash in ("", "/")
                    ],
                }
            ],
        },
        "context": caller.to_authorizer_context(),
    }
