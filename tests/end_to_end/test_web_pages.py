"""A web page in the developer's browser can call the API, but not the emulator."""

import json
from collections.abc import Iterator

import httpx
import pytest

from local.stack import Stack
from tests.support.http_shop import HttpShop
from tests.support.shop import ALICE

PAGE_HEADERS = {
    "origin": {"Origin": "https://evil.example"},
    "fetch metadata": {"Sec-Fetch-Site": "cross-site"},
    "rebound name": {"Host": "evil.example"},
}
FUNCTION = json.dumps({"FunctionName": "evil", "Runtime": "python3.12", "Handler": "h.h", "Role": "r", "Code": {}})


@pytest.fixture
def emulator(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.emulator.endpoint_url, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("headers", PAGE_HEADERS.values(), ids=PAGE_HEADERS.keys())
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/2015-03-31/functions"),
        ("GET", "/?Action=ListUsers"),
        ("POST", "/_ministack/reset"),
        ("OPTIONS", "/2015-03-31/functions"),
    ],
)
def test_web_page_does_not_reach_the_emulator(
    emulator: httpx.Client, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = emulator.request(method, path, content=FUNCTION, headers={"Content-Type": "text/plain", **headers})

    assert answer.status_code == 403
    assert answer.text.startswith("Requests from web pages are refused.")
    assert "access-control-allow-origin" not in answer.headers


def test_web_page_does_not_reach_the_api_through_the_emulator(stack: Stack, emulator: httpx.Client) -> None:
    api = {"Host": f"{stack.deployment.api_id}.execute-api.localhost:{stack.emulator.port}"}

    assert emulator.get("/v1/products", headers=api).status_code == 401
    assert emulator.get("/v1/products", headers={**api, **PAGE_HEADERS["origin"]}).status_code == 403


def test_web_page_reaches_the_api_with_a_token(shop: HttpShop) -> None:
    reply = shop.send("GET", "/products", ALICE, headers={**PAGE_HEADERS["origin"], **PAGE_HEADERS["fetch metadata"]})

    assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, "https://evil.example")


def test_emulator_key_is_in_no_log(stack: Stack, shop: HttpShop) -> None:
    assert shop.send("GET", "/products", ALICE).status == 200

    files = [path for path in (stack.state / "logs").iterdir() if path.is_file()]
    assert files
    assert not [path.name for path in files if stack.emulator.key in path.read_text(errors="replace")]
