"""Error responses, authorization, request bodies and CORS of the API's resolver."""

import gzip
import json
import re
from base64 import b64encode
from typing import Any

import pytest
from aws_lambda_powertools.event_handler import Response

from harness.functions import Context, FunctionResponse, event_for, load_function
from order_payments.api.parameters import Limit
from order_payments.api.problems import PROBLEM_TYPES
from order_payments.api.requests import MAXIMUM_BODY_BYTES
from order_payments.api.resolver import Api
from order_payments.api.routes import ANY_USER, BUYERS, ROUTES, Callers, Route
from order_payments.domain import errors
from order_payments.domain.errors import OrderPaymentError
from order_payments.domain.identity import Role


def error_classes(base: type[Exception] = OrderPaymentError) -> set[type[Exception]]:
    """Return every error class of the service."""
    return {found for child in base.__subclasses__() for found in {child, *error_classes(child)}}


def stub_api(method: str = "GET", callers: frozenset[Role] | Callers = ANY_USER) -> Api:
    """Return the resolver of a route that exists only in these tests."""
    return Api(Route("thing", method, "/thing", callers))


def call(api: Api, **event: Any) -> FunctionResponse:
    return resolve(api, event_for("GET /thing", **event))


def resolve(api: Api, event: dict[str, Any]) -> FunctionResponse:
    response = api.resolve(event, Context())  # type: ignore[arg-type]  # the resolver reads only these fields
    headers = {name: values[0] for name, values in response["multiValueHeaders"].items()}
    return FunctionResponse(response["statusCode"], headers, json.loads(response["body"]))


def test_every_error_class_has_a_problem_type() -> None:
    assert error_classes() == set(PROBLEM_TYPES)


def test_problem_types_have_unique_codes() -> None:
    problem_types = set(PROBLEM_TYPES.values())

    assert len({problem_type.code for problem_type in problem_types}) == len(problem_types)


def api_that_raises(error: Exception) -> Api:
    """Return an API whose endpoint raises the error."""
    api = stub_api()

    @api.endpoint(responses={})
    def fail() -> Response[str]:
        raise error

    return api


def test_unexpected_error_is_a_500_without_its_message() -> None:
    response = call(api_that_raises(RuntimeError("password=hunter2")))

    assert (response.status, response.body["code"]) == (500, "internal_error")
    assert "hunter2" not in json.dumps(response.body)


def test_problem_has_the_gateways_request_id() -> None:
    response = call(api_that_raises(errors.OrderNotFound("There is no such order.")))

    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.body == {
        "type": "urn:problem-type:order-payments:order_not_found",
        "title": "Order not found",
        "status": 404,
        "detail": "There is no such order.",
        "code": "order_not_found",
        "requestId": "gateway-request-id",
    }


def test_problem_is_compact_json_as_a_success_is() -> None:
    api = api_that_raises(errors.OrderNotFound("There is no such order."))

    body = api.resolve(event_for("GET /thing"), Context())["body"]  # type: ignore[arg-type]  # see `resolve`

    assert body == json.dumps(json.loads(body), separators=(",", ":"))


@pytest.mark.parametrize(
    ("error", "status", "code"), [(errors.Busy, 503, "busy"), (errors.PaymentInProgress, 409, "payment_in_progress")]
)
def test_retryable_refusal_has_retry_after(error: type[OrderPaymentError], status: int, code: str) -> None:
    response = call(api_that_raises(error("Others write the same items.")))

    assert (response.status, response.body["code"]) == (status, code)
    assert int(response.headers["Retry-After"]) > 0


@pytest.fixture
def buyers_only() -> Api:
    api = stub_api(callers=BUYERS)

    @api.endpoint(responses={})
    def handle() -> dict[str, str]:
        return {"caller": api.caller.user_id}

    return api


def test_caller_with_the_role_is_admitted(buyers_only: Api) -> None:
    assert call(buyers_only, sub="alice", roles="buyer seller").body == {"caller": "alice"}


@pytest.mark.parametrize(
    ("event", "status", "code"),
    [
        ({"roles": "seller admin"}, 403, "forbidden"),
        ({"expires_at": 1}, 401, "unauthorized"),
        ({"authorizer": None}, 401, "unauthorized"),
        ({"authorizer": {}}, 401, "unauthorized"),
        ({"authorizer": {"sub": "alice", "roles": "buyer"}}, 401, "unauthorized"),
        ({"authorizer": {"sub": "", "roles": "buyer", "exp": "4102444800"}}, 401, "unauthorized"),
        ({"authorizer": {"sub": "alice", "roles": "root", "exp": "4102444800"}}, 401, "unauthorized"),
        ({"authorizer": {"sub": "alice", "roles": "buyer", "exp": "tomorrow"}}, 401, "unauthorized"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_any_other_caller_is_refused(buyers_only: Api, event: Any, status: int, code: str) -> None:
    """Refuse a missing role, a token that expired while its authorization was cached, and a foreign authorizer."""
    response = call(buyers_only, **event)

    assert (response.status, response.body["code"]) == (status, code)


@pytest.mark.parametrize(
    ("path", "context_path", "location"),
    [
        ("/thing", "/v1/thing", "/v1/elsewhere"),
        ("/thing", "/thing", "/elsewhere"),
        ("/shop/thing", "/shop/thing", "/shop/elsewhere"),
        ("/thing/", "/v1/thing/", "/v1/elsewhere"),
    ],
    ids=["stage", "sam local", "base path", "trailing slash"],
)
def test_location_keeps_the_stage_or_base_path_of_the_request(path: str, context_path: str, location: str) -> None:
    api = stub_api()

    @api.endpoint(responses={})
    def handle() -> dict[str, str]:
        return {"location": api.location("/elsewhere")}

    response = resolve(api, {**event_for("GET /thing", path=context_path), "path": path})

    assert response.body == {"location": location}


@pytest.fixture
def echo() -> Api:
    """Return an API whose endpoint returns the request body."""
    api = stub_api("POST")

    @api.endpoint(responses={})
    def handle(body: dict[str, str]) -> dict[str, str]:
        return body

    return api


def post(api: Api, body: str | bytes, **headers: str) -> FunctionResponse:
    """Send the body as a gateway does: as text, or in base64."""
    is_binary = isinstance(body, bytes)
    event = event_for("POST /thing", body=b64encode(body).decode() if is_binary else body, headers=headers)
    return resolve(api, {**event, "isBase64Encoded": is_binary})


@pytest.mark.parametrize("body", ["null", "\ud800", "{", '{"a":"x","a":"y"}', '{"b":{"a":1,"\\u0061":2}}'])
def test_malformed_json_is_refused_with_its_location(echo: Api, body: str) -> None:
    response = post(echo, body)

    assert (response.status, response.body["code"]) == (422, "validation_error")
    assert response.body["errors"]


def test_error_of_malformed_json_says_that_the_body_is_not_valid_json(echo: Api) -> None:
    (error,) = post(echo, "nonsense").body["errors"]

    assert error["location"] == ["body"]
    assert error["message"].startswith("The body is not valid JSON: ")


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("0", "Input should be greater than or equal to 1"),
        ("101", "Input should be less than or equal to 100"),
        ("1e1", "Input should be a whole number, written in digits only"),
        ("-1", "Input should be a whole number, written in digits only"),
    ],
)
def test_invalid_limit_is_refused_with_the_rule_that_it_breaks(limit: str, message: str) -> None:
    api = stub_api()

    @api.endpoint(responses={})
    def handle(limit: Limit = 1) -> dict[str, int]:
        return {"limit": limit}

    response = call(api, query={"limit": [limit]})

    assert response.body["errors"] == [{"location": ["query", "limit"], "message": message}]


def test_body_in_broken_base64_is_refused(echo: Api) -> None:
    response = resolve(echo, {**event_for("POST /thing", body="!!!"), "isBase64Encoded": True})

    assert response.status == 422
    assert response.body["errors"]


TEXT = '{"name":"Caf\u00e9"}'
NOT_UTF_8: dict[str, str | bytes] = {
    "latin-1": TEXT.encode("latin-1"),
    "utf-16": TEXT.encode("utf-16"),
    "utf-16, no byte order mark": TEXT.encode("utf-16-le"),
    "utf-32": TEXT.encode("utf-32"),
    "gzip": gzip.compress(TEXT.encode()),
}


@pytest.mark.parametrize("transport", ["base64", "text"])
@pytest.mark.parametrize("case", NOT_UTF_8)
def test_body_that_is_not_utf_8_is_refused_with_advice(echo: Api, case: str, transport: str) -> None:
    body = NOT_UTF_8[case]
    assert isinstance(body, bytes)

    response = post(echo, body if transport == "base64" else body.decode(errors="replace"))

    assert (response.status, response.body["code"]) == (422, "validation_error")
    (error,) = response.body["errors"]
    assert error["location"] == ["body"]
    assert "UTF-8" in error["message"]


@pytest.mark.parametrize("transport", ["base64", "text"])
def test_byte_order_mark_before_json_is_ignored(echo: Api, transport: str) -> None:
    response = post(echo, TEXT.encode("utf-8-sig") if transport == "base64" else "\ufeff" + TEXT)

    assert (response.status, response.body) == (200, {"name": "Caf\u00e9"})


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "nonsense"])
def test_charset_label_does_not_change_how_json_is_read(echo: Api, charset: str) -> None:
    response = post(echo, TEXT, **{"Content-Type": f"application/json; charset={charset}"})

    assert (response.status, response.body) == (200, {"name": "Caf\u00e9"})


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "deflate", "identity, gzip", "aws-chunked"])
def test_body_with_a_content_encoding_is_refused(echo: Api, encoding: str) -> None:
    response = post(echo, gzip.compress(TEXT.encode()), **{"content-encoding": encoding})

    assert (response.status, response.body["code"]) == (415, "unsupported_encoding")
    assert encoding in response.body["detail"]
    assert response.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
def test_body_with_the_identity_encoding_is_read(echo: Api, encoding: str) -> None:
    assert post(echo, TEXT, **{"Content-Encoding": encoding}).status == 200


@pytest.mark.usefixtures("dynamodb")
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.function)
def test_every_route_refuses_an_unknown_query_parameter(route: Route) -> None:
    api: Api = load_function(route.function).api

    event = event_for(
        f"{route.method} {route.path}",
        roles=" ".join(Role),
        path_parameters=dict.fromkeys(re.findall(r"{(\w+)}", route.path), "x"),
        query={"colour": ["red"]},
    )
    response = resolve(api, event)

    assert (response.status, response.body["code"]) == (422, "validation_error")
    assert [error["location"] for error in response.body["errors"]] == [["query", "colour"]]


def call_from(origin: str | None, allowed: str, monkeypatch: pytest.MonkeyPatch, **event: Any) -> FunctionResponse:
    """Call from a web page of `origin`, with `allowed` as the allowed origins."""
    monkeypatch.setenv("CORS_ALLOWED_ORIGINS", allowed)
    api = stub_api(callers=BUYERS)

    @api.endpoint(responses={})
    def handle() -> dict[str, str]:
        return {}

    return call(api, headers={} if origin is None else {"origin": origin}, **event)


@pytest.mark.parametrize("roles", ["buyer", "seller", "nonsense"], ids=["success", "refusal", "no caller"])
@pytest.mark.parametrize("allowed", ["*", "https://shop.example", "https://a.example,https://shop.example"])
def test_page_of_an_allowed_origin_can_read_the_response(
    monkeypatch: pytest.MonkeyPatch, allowed: str, roles: str
) -> None:
    response = call_from("https://shop.example", allowed, monkeypatch, roles=roles)

    assert response.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert response.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://shop.example.evil.example", "", None])
@pytest.mark.parametrize("allowed", ["", "https://shop.example"])
def test_page_of_any_other_origin_cannot_read_the_response(
    monkeypatch: pytest.MonkeyPatch, origin: str | None, allowed: str
) -> None:
    response = call_from(origin, allowed, monkeypatch)

    assert response.status == 200
    assert not [name for name in response.headers if name.startswith("Access-Control")]


def test_cors_exposes_every_header_that_a_client_acts_on(monkeypatch: pytest.MonkeyPatch) -> None:
    response = call_from("https://shop.example", "*", monkeypatch)

    exposed = set(response.headers["Access-Control-Expose-Headers"].split(", "))
    assert exposed >= {"ETag", "Location", "Retry-After", "Idempotent-Replayed", "WWW-Authenticate", "x-amzn-RequestId"}


@pytest.mark.parametrize("character", ["x", "é"])
def test_maximum_body_size_is_in_bytes(echo: Api, character: str) -> None:
    def status(size: int) -> int:
        filling = character * ((size - 8) // len(character.encode()))
        return post(echo, f'{{"a":"{filling}"}}').status

    assert status(MAXIMUM_BODY_BYTES) == 200
    assert status(MAXIMUM_BODY_BYTES + 2) == 413
