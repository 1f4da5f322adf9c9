"""The guard lets programs on this machine through and refuses web pages."""

import asyncio
from collections.abc import Sequence

import pytest
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, HTTPScope, Scope, WebsocketScope

from local.gateway.guard import KEY_HEADER, ProgramsOnly

Headers = Sequence[tuple[bytes, bytes]]

HERE = (b"host", b"127.0.0.1:4566")
KEY = "the-key"


class Application:
    """An ASGI application that records the headers that it receives."""

    def __init__(self) -> None:
        self.received: list[Headers] = []

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:  # noqa: ARG002 - ASGI
        assert scope["type"] in ("http", "websocket")
        self.received.append(list(scope["headers"]))


def scope_of(headers: Headers, type_: str = "http") -> HTTPScope | WebsocketScope:
    return {"type": type_, "headers": list(headers)}  # type: ignore[typeddict-item,return-value]


def call(application: Application, headers: Headers, type_: str = "http") -> list[ASGISendEvent]:
    """Send one request through the guard and return the events of its response."""
    sent: list[ASGISendEvent] = []

    async def send(event: ASGISendEvent) -> None:
        sent.append(event)

    async def run() -> None:
        await ProgramsOnly(application, KEY)(scope_of(headers, type_), None, send)  # type: ignore[arg-type]

    asyncio.run(run())
    return sent


@pytest.mark.parametrize(
    "headers",
    [
        [HERE],
        [(b"Host", b"LOCALHOST:4566")],
        [(b"host", b"bucket.s3.localhost:4566")],
        [HERE, (b"user-agent", b"Boto3/1.40 md/Botocore#1.40")],
    ],
)
def test_program_passes(headers: Headers) -> None:
    application = Application()

    assert call(application, headers) == []
    assert application.received == [headers]


WEB_PAGE_HEADERS = {
    "origin of a site": [HERE, (b"Origin", b"https://evil.example")],
    "origin of a file or a sandbox": [HERE, (b"origin", b"null")],
    "origin of another port": [HERE, (b"origin", b"http://127.0.0.1:8080")],
    "origin of this port": [HERE, (b"origin", b"http://127.0.0.1:4566")],
    "cross-site image": [HERE, (b"Sec-Fetch-Site", b"cross-site")],
    "page of another port": [HERE, (b"sec-fetch-site", b"same-site")],
    "page of this port": [HERE, (b"sec-fetch-site", b"same-origin")],
    "redirect of a link from outside the browser": [HERE, (b"sec-fetch-site", b"none")],
    "browser without fetch metadata": [HERE, (b"user-agent", b"Mozilla/5.0 (Macintosh) Safari/605.1.15")],
    "name of this machine in containers": [(b"host", b"host.docker.internal:4566")],
    "rebound DNS name": [(b"host", b"evil.example:4566")],
    "name that begins with ours": [(b"host", b"127.0.0.1.evil.example:4566")],
    "name that ends with ours": [(b"host", b"evillocalhost:4566")],
    "address without fetch metadata": [(b"host", b"0.0.0.0:4566")],
    "no host": [],
    "two hosts": [HERE, (b"host", b"evil.example")],
    "another key": [HERE, (b"origin", b"https://evil.example"), (KEY_HEADER, b"guessed")],
    "empty key": [HERE, (b"origin", b"https://evil.example"), (KEY_HEADER, b"")],
}


@pytest.mark.parametrize("headers", WEB_PAGE_HEADERS.values(), ids=WEB_PAGE_HEADERS.keys())
def test_web_page_is_refused(headers: Headers) -> None:
    application = Application()

    start, _ = call(application, headers)

    assert start["type"] == "http.response.start"
    assert start["status"] == 403
    assert not any(name.startswith(b"access-control") for name, _ in start["headers"])
    assert application.received == []


def test_websocket_of_a_web_page_is_refused() -> None:
    application = Application()

    (closed,) = call(application, [HERE, (b"origin", b"https://evil.example")], "websocket")

    assert closed["type"] == "websocket.close"
    assert application.received == []


def test_key_admits_a_web_page_and_is_not_forwarded() -> None:
    application = Application()
    origin = (b"origin", b"https://shop.example")

    assert call(application, [HERE, origin, (KEY_HEADER, KEY.encode())]) == []
    assert application.received == [[HERE, origin]]
