"""IAM policy for the routes that a caller's roles may call."""

import re
from typing import Any

from order_payments.api.authorizer_context import to_authorizer_context
from order_payments.api.routes import ROUTES, Route
from order_payments.domain.identity import Caller

# The text after the stage is the client's raw input and may contain wildcards, so it must not enter the policy.
_METHOD_ARN = re.compile(
    r"(?P<stage_arn>arn:aws[a-z-]*:execute-api:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9]+/[A-Za-z0-9_-]+)/[A-Z]+/.*",
    re.DOTALL,
)


def build_response(caller: Caller, method_arn: str) -> dict[str, Any]:
    """Return the authorizer's response: the caller's context, and a policy with every route that its roles may call.

    The policy has all routes, because API Gateway caches it for the token and applies it to later requests of other
    routes. Raises `ValueError` if `method_arn` is not the ARN of an API method.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html
    """
    match = _METHOD_ARN.fullmatch(method_arn)
    if match is None:
        raise ValueError("methodArn is not the ARN of an API method")
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
                        # API Gateway also serves the path with a trailing slash, whose ARN differs.
                        for slash in ("", "/")
                    ],
                }
            ],
        },
        "context": to_authorizer_context(caller),
    }


def _pattern(route: Route) -> str:
    """Return the route's path as an IAM pattern, with a wildcard for each parameter.

    In IAM, `*` matches any text, including slashes and empty text. `?*` keeps `GET /orders/{orderId}` from matching the
    list `GET /orders/` if that has other callers. The pattern also matches longer paths: a test compares the callers of
    such routes.
    """
    pattern = re.sub(r"{[^}]+}", "*", route.path)
    above = pattern.removesuffix("/*")
    has_list_for_others = any(
        (other.method, other.path) == (route.method, above) and other.callers != route.callers for other in ROUTES
    )
    return f"{above}/?*" if has_list_for_others else pattern
