"""Features of the gateway: CORS, size limits and throttling."""

import gzip
import json
from collections.abc import Iterator

import httpx
import pytest

from local.gateway.proxy import MAX_BODY_BYTES, MAX_HEADER_BYTES
from local.stack import Stack
from order_payments.api.requests import MAXIMUM_BODY_BYTES
from order_payments.api.routes import ROUTES
from tests.end_to_end.conftest import Mint

PAGE = "https://shop.example"
PAGE_HEADERS = {
    *("authorization", "content-type", "idempotency-key", "if-match"),
    *("traceparent", "tracestate", "baggage", "sentry-trace", "x-request-id"),
}


@pytest.fixture
def buyer(mint: Mint) -> dict[str, str]:
    return {"Authorization": f"Bearer {mint('alice', ['buyer'])}"}


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    problem = answer.json()
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(problem) >= {"type", "title", "status", "detail", "code", "requestId"}
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["requestId"]


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES if route.needs_token}))
def test_cors_preflight_succeeds_without_a_token(api: httpx.Client, path: str) -> None:
    methods = {route.method for route in ROUTES if route.path == path}
    url_path = path.replace("{orderId}", "ord_1").replace("{productId}", "tea")

    for method in methods:
        preflight = {
            "Origin": PAGE,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": ",".join(sorted(PAGE_HEADERS)),
        }
        answer = api.options(url_path, headers=preflight)

        assert answer.is_success
        assert answer.headers["access-control-allow-origin"] in ("*", PAGE)
        assert method in answer.headers["access-control-allow-methods"].split(",")
        allowed = answer.headers["access-control-allow-headers"].lower().split(",")
        assert set(allowed) >= PAGE_HEADERS
        assert int(answer.headers["access-control-max-age"]) > 0


def test_success_and_error_responses_have_cors_headers(api: httpx.Client, buyer: dict[str, str]) -> None:
    page = {"Origin": PAGE}
    answers = [
        api.get("/products", headers=buyer | page),
        api.get("/products/nothing", headers=buyer | page),
        api.put("/admin/products/tea", headers=buyer | page, json={}),
        api.get("/products", headers=page),
        api.get("/products", headers=page | {"Authorization": "Bearer none"}),
        api.get("/nowhere", headers=buyer | page),
    ]

    assert [answer.status_code for answer in answers] == [200, 404, 403, 401, 401, 404]
    assert all(answer.headers["access-control-allow-origin"] in ("*", PAGE) for answer in answers)


def test_response_exposes_its_headers_to_web_pages(api: httpx.Client, buyer: dict[str, str]) -> None:
    answer = api.get("/products", headers=buyer | {"Origin": PAGE})

    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert exposed >= {"ETag", "Location", "Retry-After", "Idempotent-Replayed", "x-amzn-RequestId"}
    assert "x-amzn-requestid" in answer.headers


def test_no_response_allows_credentials(api: httpx.Client, buyer: dict[str, str]) -> None:
    for answer in (
        api.get("/products", headers=buyer | {"Origin": PAGE}),
        api.options("/products", headers={"Origin": PAGE, "Access-Control-Request-Method": "GET"}),
    ):
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("size", [MAXIMUM_BODY_BYTES + 1, MAX_BODY_BYTES + 1])
def test_too_large_body_is_refused(api: httpx.Client, buyer: dict[str, str], size: int) -> None:
    answer = api.post("/orders", headers=buyer, content=b'{"items":"' + b"x" * (size - 12) + b'"}')

    assert_problem(answer, 413, "request_too_large")


@pytest.mark.parametrize("size", [MAX_HEADER_BYTES, 20 * MAX_HEADER_BYTES])
def test_too_large_headers_are_refused(api: httpx.Client, buyer: dict[str, str], size: int) -> None:
    answer = api.get("/products", headers=buyer | {"X-Large": "x" * size})

    assert_problem(answer, 413, "request_too_large")


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_compressed_body_is_refused(api: httpx.Client, buyer: dict[str, str], encoding: str) -> None:
    answer = api.post("/orders", headers=buyer | {"Content-Encoding": encoding}, content=gzip.compress(b'{"items":[]}'))

    assert_problem(answer, 415, "unsupported_encoding")


@pytest.mark.parametrize("charset", ["utf-16", "utf-32", "latin-1"])
def test_body_in_another_character_set_is_refused_with_advice(
    api: httpx.Client, buyer: dict[str, str], charset: str
) -> None:
    answer = api.post("/orders", headers=buyer, content='{"caf\u00e9":1}'.encode(charset))

    assert_problem(answer, 422, "validation_error")
    assert "UTF-8" in answer.json()["errors"][0]["message"]


def test_body_with_a_byte_order_mark_is_read(api: httpx.Client, buyer: dict[str, str]) -> None:
    body = '{"items":[{"productId":"no-such-thing","quantity":1}]}'

    assert_problem(api.post("/orders", headers=buyer, content=body.encode("utf-8-sig")), 422, "unknown_product")


def throttle_payments(stack: Stack, rate: str, burst: str) -> None:
    """Set the stage's throttle for payments."""
    client = stack.client("apigateway")
    method = "/~1orders~1{orderId}~1payment/POST/throttling"
    client.update_stage(
        restApiId=stack.deployment.api_id,
        stageName="v1",
        patchOperations=[
            {"op": "replace", "path": f"{method}/rateLimit", "value": rate},
            {"op": "replace", "path": f"{method}/burstLimit", "value": burst},
        ],
    )
    client.close()


@pytest.fixture
def one_payment_an_hour(stack: Stack) -> Iterator[None]:
    throttle_payments(stack, "0.0003", "1")
    yield
    throttle_payments(stack, "1000", "1000")


@pytest.mark.usefixtures("one_payment_an_hour")
def test_payment_throttle_responds_429_and_spares_other_routes(api: httpx.Client, buyer: dict[str, str]) -> None:
    answers = [api.post("/orders/ord_1/payment", headers=buyer) for _ in range(3)]

    assert answers[0].status_code == 404
    assert_problem(answers[-1], 429, "too_many_requests")
    assert int(answers[-1].headers["retry-after"]) > 0
    assert api.get("/products", headers=buyer).status_code == 200


def test_stage_throttles_payments_separately(stack: Stack) -> None:
    client = stack.client("apigateway")
    settings = client.get_stage(restApiId=stack.deployment.api_id, stageName="v1")["methodSettings"]
    client.close()

    default, payments = settings["*/*"], settings["/orders/{orderId}/payment/POST"]
    assert (default["throttlingRateLimit"], default["throttlingBurstLimit"]) == (20_000, 40_000)
    assert (payments["throttlingRateLimit"], payments["throttlingBurstLimit"]) == (1000, 1000)


def test_unauthorized_response_reveals_no_cause(api: httpx.Client) -> None:
    answer = api.get("/products", headers={"Authorization": "Bearer x.y.z"})

    assert_problem(answer, 401, "unauthorized")
    assert json.loads(answer.content)["detail"] == "A valid bearer token is required."
    assert answer.headers["www-authenticate"] == "Bearer"
