"""Checks of responses against the OpenAPI document."""

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from command_line.project import PROJECT
from order_payments.api.responses import HEADERS

if TYPE_CHECKING:
    from tests.support.shop import Reply

API_HEADERS = {name.lower() for name in (*HEADERS, "WWW-Authenticate")}
DOCUMENT: dict[str, Any] = json.loads((PROJECT / "docs" / "openapi.json").read_text())


def check_documented(method: str, path: str, reply: "Reply") -> None:
    """Assert that the document describes the response: its status, body and headers."""
    operation = _operation(method, path.partition("?")[0])
    if operation is None:
        return
    assert str(reply.status) in operation["responses"], f"{method} {path}: {reply.status} is not documented: {reply}"
    response = operation["responses"][str(reply.status)]
    content_type = reply.headers["content-type"].partition(";")[0]
    assert content_type in response["content"], f"{method} {path}: {content_type} is not documented"
    _validator(json.dumps(response["content"][content_type]["schema"])).validate(reply.body)
    documented = {name.lower(): header["schema"]["type"] for name, header in response.get("headers", {}).items()}
    for name in API_HEADERS & reply.headers.keys():
        assert name in documented, f"{method} {path}: {reply.status} has an undocumented header {name}"
        assert documented[name] == "string" or reply.headers[name].isdigit()


def problem_codes(operation: dict[str, Any], status: str) -> list[str]:
    """Return the problem codes that an operation documents for a status."""
    content = operation["responses"][status]["content"].get("application/problem+json")
    codes: list[str] = content["schema"]["allOf"][1]["properties"]["code"]["enum"] if content else []
    return codes


@cache
def _operation(method: str, path: str) -> dict[str, Any] | None:
    for template, operations in DOCUMENT["paths"].items():
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path) and method.lower() in operations:
            operation: dict[str, Any] = operations[method.lower()]
            return operation
    return None


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator({**json.loads(schema), "components": DOCUMENT["components"]})
