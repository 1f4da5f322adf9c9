"""The OpenAPI document is current, valid and complete, and its examples match their schemas."""

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from delivery import openapi
from delivery.rendering import template
from order_payments.api.problems import PROBLEM_TYPES
from order_payments.api.routes import ROUTES
from tests.support.api_document import DOCUMENT, problem_codes

OPERATIONS: dict[str, dict[str, Any]] = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
CODES = {
    code
    for operation in OPERATIONS.values()
    for status in operation["responses"]
    for code in problem_codes(operation, status)
}
WITHOUT_TOKEN = {f"{route.method} {route.path}" for route in ROUTES if not route.needs_token}

for_each_operation = pytest.mark.parametrize("name", OPERATIONS)


def test_document_is_up_to_date() -> None:
    assert openapi.DOCUMENT.read_text() == openapi.text(), "docs/openapi.json is stale: run `make openapi`"


def test_document_is_valid() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_document_has_every_route() -> None:
    assert OPERATIONS.keys() == {f"{route.method} {route.path}" for route in ROUTES}


def test_document_has_every_domain_error() -> None:
    assert {problem.code for problem in PROBLEM_TYPES.values()} <= CODES


@for_each_operation
def test_operation_requires_a_token_if_its_route_does(name: str) -> None:
    operation = OPERATIONS[name]
    assert DOCUMENT["security"] == [{"bearerToken": []}]
    assert operation.get("security", "default") == ([] if name in WITHOUT_TOKEN else "default")
    assert ("401" in operation["responses"]) is (name not in WITHOUT_TOKEN)


@for_each_operation
def test_operation_has_texts_and_responses(name: str) -> None:
    operation = OPERATIONS[name]
    assert {"operationId", "summary", "description", "tags"} <= operation.keys()
    assert [status for status in operation["responses"] if status.startswith("2")]
    assert {"400", "429", "500", "503", "504"} <= operation["responses"].keys()
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}


@for_each_operation
def test_path_parameters_match_the_path(name: str) -> None:
    operation = OPERATIONS[name]
    in_path = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"]

    assert in_path == re.findall(r"{(\w+)}", name)


@for_each_operation
def test_examples_match_their_schemas(name: str) -> None:
    operation = OPERATIONS[name]
    for status, response in operation["responses"].items():
        for content in response["content"].values():
            validator = Draft202012Validator({**content["schema"], "components": DOCUMENT["components"]})
            if "example" in content:
                validator.validate(content["example"])
            for example in content.get("examples", {}).values():
                validator.validate(example["value"])
                assert str(example["value"]["status"]) == status


def test_document_has_the_gateways_own_responses() -> None:
    responses = template()["Resources"]["Api"]["Properties"]["GatewayResponses"]
    codes = {
        json.loads(responses[name]["ResponseTemplates"]["application/json"])["code"]
        for name in (
            "DEFAULT_4XX",
            "DEFAULT_5XX",
            "THROTTLED",
            "INTEGRATION_TIMEOUT",
            "REQUEST_TOO_LARGE",
            "UNAUTHORIZED",
        )
    }

    assert codes <= CODES
