"""IAM policy that lets a caller through to the routes that its roles may call."""

import re
from typing import Any

from order_payments.api.routes import ROUTES, Route
from order_payments.domain.identity import Caller

# What follows the stage is the client's raw input: it may hold anything, wildcards too, so it goes no further.
_METHOD_ARN = re.compile(
    r"(?P<stage_arn>arn:aws[a-z-]*:execute-api:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9]+/[A-Za-z0-9_-]+)/[A-Z]+/.*",
    re.DOTALL,
)


def build_response(caller: Caller, method_arn: str) -> dict[str, Any]:
    """Return the authorizer's response: the caller, for the functions, and every route that its roles may call.

    It lists all of them because API Gateway caches it for the token and applies it to the token's next requests,
    whichever route they are for. Raises `ValueError` for an ARN that is not a method's.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html
    """
    match = _METHOD_ARN.fullmatch(method_arn)
    if match is None:
        raise ValueError("methodArn names no method of an API's stage")
    return {
        "principalId": caller.user_id,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Action": "execute-api:Invoke",
                    "Effect": "Allow",
                    "Resource": [
                        f"{match['stage_arn']}/{route.method}{_pattern(route)}{slash}"
                        for route in ROUTES
                        if route.admits(caller.roles)
                        # A path is the same with a slash after it, but its ARN is not.
                        for slash in ("", "/")
                    ],
                }
            ],
        },
        "context": caller.to_authorizer_context(),
    }


def _pattern(route: Route) -> str:
    """Return the route's path as IAM matches it, with a wildcard for each parameter.

    To IAM `*` is any text, an empty one and slashes included. `?*` keeps `GET /orders/{orderId}` from covering the list
    `GET /orders/`, if that is for other callers. It still covers what lies below an id: a test compares the callers of
    such routes.
    """
    pattern = re.sub(r"{[^}]+}", "*", route.path)
    above = pattern.removesuffix("/*")
    has_list_for_others = any(
        (other.method, other.path) == (route.method, above) and other.callers != route.callers for other in ROUTES
    )
    return f"{above}/?*" if has_list_for_others else pattern
