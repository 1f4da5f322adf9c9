"""OpenAPI document of the API, generated from the functions' models, routes and errors.

Powertools generates a schema from each function's resolver and merges them. This module adds the token requirement, the
errors of the domain and of the gateway, and camelCase parameter names.
"""

import importlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from types import ModuleType
from typing import Any
from unittest.mock import patch

from aws_lambda_powertools.event_handler.openapi.constants import DEFAULT_OPENAPI_RESPONSE_DESCRIPTION
from aws_lambda_powertools.event_handler.openapi.merge import OpenAPIMerge
from samtranslator.yaml_helper import yaml_parse

from command_line.project import PROJECT
from order_payments.api.problems import NOT_FOUND, PROBLEM_TYPE_PREFIX, PROBLEM_TYPES, ProblemType
from order_payments.api.refund_views import RefundView, RestockView
from order_payments.api.requests import Unauthenticated, UnsupportedEncoding
from order_payments.api.resolver import Api
from order_payments.api.responses import HEADERS, REPLAYED_HEADER
from order_payments.api.routes import ROUTES
from order_payments.api.views import (
    FaultView,
    OrderLineView,
    OrderStatusView,
    ProblemView,
    ReasonView,
    View,
)
from order_payments.domain import errors
from order_payments.domain.refunds import RefundKind, RefundStatus
from order_payments.payments import ORDER_EXPIRED

DOCUMENT = PROJECT / "docs" / "openapi.json"
_SERVERS: list[Mapping[str, Any]] = [
    {
        "url": "https://{apiId}.execute-api.{region}.amazonaws.com/v1",
        "description": "A deployed stack; `make deploy` prints its address.",
        "variables": {"apiId": {"default": "abc123"}, "region": {"default": "eu-central-1"}},
    },
    {"url": "http://127.0.0.1:3000/v1", "description": "The local stack of `make run`."},
]
_PROBLEM = "application/problem+json"
_TOKEN = "bearerToken"  # noqa: S105 - not a secret
_TAGS = {
    "Orders": "Place an order, pay for it once, and read its status.",
    "Products": "Read the catalogue and each product's stock.",
    "Administration": "Operations for admins.",
    "Stripe": "Webhook for Stripe's events.",
}
# The headers of error responses, with the codes that have them.
_ERROR_HEADERS: Mapping[str, tuple[Any, frozenset[str]]] = {
    "Retry-After": (HEADERS["Retry-After"], frozenset({"busy", "payment_in_progress", "too_many_requests"})),
    REPLAYED_HEADER: (HEADERS[REPLAYED_HEADER], frozenset({"payment_failed", "insufficient_stock", "not_refundable"})),
    "Accept-Encoding": (
        {"description": "RFC 9110, section 15.5.16.", "schema": {"type": "string"}},
        frozenset({"unsupported_encoding"}),
    ),
    "WWW-Authenticate": ({"description": "RFC 6750.", "schema": {"type": "string"}}, frozenset({"unauthorized"})),
}
# The gateway's own responses to any request.
_GATEWAY_RESPONSES = ("DEFAULT_4XX", "REQUEST_TOO_LARGE", "THROTTLED", "DEFAULT_5XX", "INTEGRATION_TIMEOUT")


def document() -> dict[str, Any]:
    template = yaml_parse((PROJECT / "template.yaml").read_text())
    merge = OpenAPIMerge(
        title="Order payments",
        version=_latest_release(),
        description=(
            "Place an order, pay for it once, and settle the order and its stock in one transaction.\n\n"
            "Money is an integer in the currency's minor unit (`4599` is $45.99). Times are RFC 3339 in UTC. "
            "Errors are `application/problem+json` (RFC 9457) with a stable `code`. "
            "Unknown fields and unknown query parameters are refused."
        ),
        servers=_SERVERS,  # type: ignore[arg-type]  # mappings are accepted in place of the models
        tags=[{"name": name, "description": what} for name, what in _TAGS.items()],  # type: ignore[misc]  # likewise
        security_schemes={
            _TOKEN: {  # type: ignore[dict-item]  # likewise
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "`sub` is the user ID. `roles` is an array of `buyer`, `seller` and `admin`.",
            }
        },
        security=[{_TOKEN: []}],
        on_conflict="error",
    )
    gateway = list(_gateway_problems(template))
    for route in ROUTES:
        merge.add_schema(_describe(_load(route.function), gateway))
    merged = merge.get_openapi_schema()
    merged["components"]["schemas"] = dict(sorted(merged["components"]["schemas"].items()))
    return merged


def text() -> str:
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _latest_release() -> str:
    """Return the version at the top of the changelog."""
    released = re.search(r"^## (\d+\.\d+\.\d+)", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released
    return released[1]


def _gateway_problems(template: Mapping[str, Any]) -> Iterator[ProblemType]:
    responses = template["Resources"]["Api"]["Properties"]["GatewayResponses"]
    for name in _GATEWAY_RESPONSES:
        problem = json.loads(responses[name]["ResponseTemplates"]["application/json"])
        yield ProblemType(HTTPStatus(problem["status"]), problem["code"], problem["title"])


def _load(function: str) -> ModuleType:
    """Import the handler of a function."""
    # The function only starts; it makes no call.
    variables: dict[str, str] = json.loads((PROJECT / "env.local.json").read_text())["Parameters"]
    with patch.dict(os.environ, variables, AWS_DEFAULT_REGION="us-east-1"):
        return importlib.import_module(f"functions.{function}.handler")


def _describe(module: ModuleType, gateway: Iterable[ProblemType]) -> dict[str, Any]:
    """Return one function's part of the document: the schema from Powertools, completed."""
    api: Api = module.api
    method, path = api.serves.method, api.serves.path
    schema: dict[str, Any] = api.get_openapi_schema().model_dump(mode="json", by_alias=True, exclude_none=True)
    ((_, operations),) = schema["paths"].items()
    operation = operations[method.lower()]
    _add_texts(operation, module, path)
    _fix_parameters(operation, path)
    del operation["responses"]["422"]
    _add_order_examples(operation["responses"])
    operation["responses"] |= _error_responses([*_problems(api, operation, path), *gateway], operation)
    operation["responses"] = dict(sorted(operation["responses"].items()))
    if not api.serves.needs_token:
        operation["security"] = []
    schemas = schema["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError", "ResponseValidationError"):
        schemas.pop(unused, None)
    schemas |= _problem_schemas()
    for each in schemas.values():
        _remove_generated_titles(each)
    return {"paths": {path: {method.lower(): operation}}, "components": {"schemas": schemas}}


def _add_texts(operation: dict[str, Any], module: ModuleType, path: str) -> None:
    """Name the operation after its function, and describe it with the docstrings."""
    route = module.api.registered
    words = route.func.__name__.split("_")
    operation["operationId"] = words[0] + "".join(word.capitalize() for word in words[1:])
    operation["summary"] = " ".join(words).capitalize()
    operation["description"] = _sentence((module.__doc__ or "").partition(": ")[2])
    for response in operation["responses"].values():
        if response["description"] == DEFAULT_OPENAPI_RESPONSE_DESCRIPTION:
            response["description"] = _sentence(route.func.__doc__ or "")
    area = path.split("/")[1]
    operation["tags"] = [{"admin": "Administration", "webhooks": "Stripe"}.get(area, area.capitalize())]


def _sentence(docstring: str) -> str:
    """Return the first paragraph of a docstring as a sentence."""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return paragraph[:1].upper() + paragraph[1:]


def _fix_parameters(operation: dict[str, Any], path: str) -> None:
    """Name parameters as clients do (`orderId`), and drop null, which a query or header parameter cannot be."""
    names = {re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower(): name for name in re.findall(r"{(\w+)}", path)}
    for parameter in operation.get("parameters", ()):
        name = parameter["name"]
        parameter["name"] = names.get(name, name.title() if parameter["in"] == "header" else name)
        if parameter["in"] == "path":
            parameter["description"] = f"ID of the {parameter['name'].removesuffix('Id')}."
        schema = parameter["schema"]
        if "anyOf" in schema:
            (schema,) = (choice for choice in schema["anyOf"] if choice != {"type": "null"})
        for described_elsewhere in ("title", "description"):
            schema.pop(described_elsewhere, None)
        parameter["schema"] = schema


def _problems(api: Api, operation: Mapping[str, Any], path: str) -> Iterator[ProblemType]:
    """Yield the problems that the function may return: its own errors, and those that its route implies."""
    raised = {*api.raises, errors.Busy, errors.InvalidRequest}
    if api.serves.needs_token:
        raised |= {Unauthenticated, errors.Forbidden}
    if "requestBody" in operation:
        raised.add(UnsupportedEncoding)
    yield from (problem for error, problem in PROBLEM_TYPES.items() if error in raised)
    if "{" in path:
        yield NOT_FOUND


def _add_order_examples(responses: Mapping[str, Any]) -> None:
    """Add an example to each success response about an order. One made of the fields' examples would mix outcomes."""
    confirmed, pending = _example_order("confirmed").to_json(), _example_order("pending").to_json()
    items = [OrderLineView(**_field_examples(OrderLineView)).to_json()]
    refunded = _example_refund(RefundStatus.SUCCEEDED).to_json()
    examples = {
        ("200", "OrderStatusView"): confirmed,
        ("202", "OrderStatusView"): pending,
        ("201", "OrderView"): {**pending, "paymentIntentId": None, "items": items},
        ("200", "OrdersView"): {"orders": [{**confirmed, "items": items}], "cursor": None},
        ("201", "RefundView"): refunded,
        ("202", "RefundView"): _example_refund(RefundStatus.PENDING).to_json(),
        ("200", "RefundsView"): {"refunds": [refunded]},
    }
    for status, response in responses.items():
        content = response.get("content", {}).get("application/json", {})
        schema = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        if example := examples.get((status, schema)):
            content["example"] = example


def _error_responses(problems: Iterable[ProblemType], operation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the error responses by status, each with its codes and an example per code."""
    by_status: defaultdict[HTTPStatus, dict[str, ProblemType]] = defaultdict(dict)
    for problem in problems:
        by_status[problem.status][problem.code] = problem
    return {str(status.value): _error_response(by_code, operation) for status, by_code in by_status.items()}


def _error_response(by_code: Mapping[str, ProblemType], operation: Mapping[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": " · ".join(f"{problem.title} (`{code}`)" for code, problem in by_code.items()),
        "content": {
            _PROBLEM: {
                "schema": {
                    "allOf": [
                        {"$ref": "#/components/schemas/ProblemView"},
                        {"properties": {"code": {"enum": list(by_code)}}},
                    ]
                },
                "examples": {code: {"value": _example(problem, operation)} for code, problem in by_code.items()},
            }
        },
    }
    headers = {name: header for name, (header, codes) in _ERROR_HEADERS.items() if codes & by_code.keys()}
    return {**response, "headers": headers} if headers else response


def _example(problem: ProblemType, operation: Mapping[str, Any]) -> dict[str, Any]:
    faults = {
        "validation_error": _example_fault(operation),
        "unknown_product": FaultView(location=["body", "items", 0, "productId"], message="There is no product tea."),
        "insufficient_stock": FaultView(location=["products", "tea"], message="2 of tea ordered, 1 available."),
    }
    statuses = {
        "payment_failed": "cancelled",
        "payment_already_attempted": "confirmed",
        "payment_in_progress": "pending",
        "order_expired": "cancelled",
        "order_not_pending": "confirmed",
        "not_refundable": "cancelled",
        "refund_too_large": "confirmed",
        "insufficient_stock": "cancelled" if operation["operationId"] == "initiatePayment" else "pending",
    }
    return ProblemView(
        type=PROBLEM_TYPE_PREFIX + problem.code,
        title=problem.title,
        status=problem.status,
        detail=f"{problem.title}.",
        code=problem.code,
        request_id="f1c0c1f5-6a4f-4b0e-8d5e-0c8d6c1f7a11",
        errors=[faults[problem.code]] if problem.code in faults else None,
        order=_example_order(statuses[problem.code], problem.code) if problem.code in statuses else None,
    ).to_json()


def _example_fault(operation: Mapping[str, Any]) -> FaultView:
    """Return an example of an invalid input to this operation."""
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "query":
            return FaultView(location=["query", parameter["name"]], message="Input should be less than or equal to 100")
    if "requestBody" in operation:
        return FaultView(location=["body", "colour"], message="Extra inputs are not permitted")
    return FaultView(location=["query", "colour"], message="Unknown query parameter. This route has none.")


def _example_order(status: str, code: str | None = None) -> OrderStatusView:
    """Return the status object of an example: of a success, or of the error with this code."""
    declined = ReasonView(code="card_declined", decline_code="generic_decline", message="Your card was declined.")
    short = ReasonView(code="insufficient_stock", decline_code=None, message="Some products were not available.")
    reasons = {
        "payment_failed": declined,
        "insufficient_stock": short if status == "cancelled" else None,
        "order_expired": ReasonView.of(ORDER_EXPIRED),
        "not_refundable": declined,
    }
    fields = _field_examples(OrderStatusView)
    if code != "refund_too_large":
        del fields["refunded_amount"]
    if code == "order_expired":
        fields |= {"payment_intent_id": None, "updated_at": "2026-11-27T09:12:41.507Z"}
    return OrderStatusView(
        **{**fields, "status": status, "payment_method": "stripe-dummy", "reason": reasons.get(code or "")}
    )


def _example_refund(status: RefundStatus) -> RefundView:
    restock = [RestockView(**_field_examples(RestockView))]
    fields = {**_field_examples(RefundView), "kind": RefundKind.STAFF, "restock": restock, "failure": None}
    return RefundView(**{**fields, "status": status.value})


def _field_examples(view: type[View]) -> dict[str, Any]:
    """Return the example of each field that has one."""
    return {name: field.examples[0] for name, field in view.model_fields.items() if field.examples}


def _problem_schemas() -> dict[str, Any]:
    """Return the schemas of an error and its parts."""
    schema = ProblemView.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
    parts: dict[str, Any] = schema.pop("$defs")
    schema["required"] = [name for name in schema["required"] if name not in ("errors", "order")]
    for name in ("errors", "order"):
        # These fields are omitted rather than null.
        (schema["properties"][name],) = (
            choice for choice in schema["properties"][name]["anyOf"] if choice != {"type": "null"}
        )
    return {**parts, "ProblemView": schema}


def _remove_generated_titles(schema: dict[str, Any]) -> None:
    """Remove the titles that pydantic generates from field names."""
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
