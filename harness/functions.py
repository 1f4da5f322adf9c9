"""Loads and calls the functions as Lambda does."""

import importlib
import json
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any


class Context:
    """The parts of Lambda's context object that the functions use."""

    function_name = "function"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:function"
    aws_request_id = "5b2f1a3c-0000-0000-0000-000000000000"

    def __init__(self, remaining_seconds: float = 28.0) -> None:
        self._remaining_seconds = remaining_seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self._remaining_seconds * 1000)


def load_function(name: str) -> ModuleType:
    """Import `functions/NAME` again, as a cold start does, with the current environment."""
    module = f"functions.{name}.handler"
    sys.modules.pop(module, None)
    return importlib.import_module(module)


@dataclass(frozen=True)
class FunctionResponse:
    status: int
    headers: dict[str, str]
    body: Any


def event_for(
    resource: str,
    *,
    sub: str = "alice",
    roles: str = "buyer",
    expires_at: float = 4102444800,
    body: str | None = None,
    headers: dict[str, str] | None = None,
    path_parameters: dict[str, str] | None = None,
    query: dict[str, list[str]] | None = None,
    **request_context: Any,
) -> dict[str, Any]:
    """Return API Gateway's event for a request of `resource`, for example `POST /orders/{orderId}/payment`.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    """
    method, _, route = resource.partition(" ")
    path = route.format_map(path_parameters or {})
    return {
        "resource": route,
        "path": path,
        "httpMethod": method,
        "headers": headers or {},
        "multiValueHeaders": {name: [value] for name, value in (headers or {}).items()},
        "queryStringParameters": {name: values[-1] for name, values in query.items()} if query else None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": path_parameters,
        "stageVariables": None,
        "requestContext": {
            "requestId": "gateway-request-id",
            "path": f"/v1{path}",
            "stage": "v1",
            "httpMethod": method,
            "resourcePath": route,
            "authorizer": {"sub": sub, "roles": roles, "exp": str(int(expires_at)), "principalId": sub},
            **request_context,
        },
        "body": body,
        "isBase64Encoded": False,
    }


def call(function: ModuleType, event: dict[str, Any], context: Context | None = None) -> FunctionResponse:
    response = function.handler(event, context or Context())
    return FunctionResponse(
        response["statusCode"],
        {name: values[0] for name, values in response["multiValueHeaders"].items()},
        json.loads(response["body"]),
    )
