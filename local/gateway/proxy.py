"""The short address: `http://127.0.0.1:3000/v1` in front of the emulator's `http://API.execute-api.localhost:PORT/v1`.

Method, path, query, headers and body go through as they came, down to the percent-encoding. Three answers of API
Gateway's the emulator does not give, so they are given here, from the deployed template's gateway responses: 404
outside of the stage, 413 for a body or headers above API Gateway's limits, and 5xx (or 429) where a function fails or
may not run, for which MiniStack shows the client the exception.
"""

import asyncio
import errno
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpcore
from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from command_line.errors import CommandError
from local.gateway.guard import KEY_HEADER
from local.gateway.page import WebPage
from local.gateway.responses import GatewayResponse

# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html
MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_HEADER_BYTES = 10_240

Headers = list[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    }
)
# API Gateway gives up after 29 seconds. Here the cold starts of many functions share one machine.
_TIMEOUT_SECONDS = 120.0
# Less than the 75 seconds after which the emulator closes an idle connection: no request may meet one that closes.
_IDLE_SECONDS = 30.0
# What is under way when the stack is stopped may take so long: the dummy Stripe's slowest answer, and a little.
_STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where the API answers on the emulator, and what API Gateway says by itself."""

    port: int
    api_id: str
    stage: str
    gateway_responses: Mapping[str, GatewayResponse]
    key: str = field(repr=False)
    """Opens the emulator to the requests of web pages, which may call the API."""

    @property
    def host(self) -> bytes:
        return f"{self.api_id}.execute-api.localhost:{self.port}".encode()


class Application(Protocol):
    """An ASGI application with something to close in the end."""

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer one request."""

    async def close(self) -> None:
        """Let go of what it holds."""


class Proxy:
    """An ASGI application that hands every request on to the emulator, but for those of the local stack's pages."""

    def __init__(self, upstream: Upstream, pages: Mapping[str, WebPage] | None = None) -> None:
        self._upstream = upstream
        self._key = (KEY_HEADER, upstream.key.encode())
        self._pages = {path.encode(): page for path, page in (pages or {}).items()}
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=None, max_keepalive_connections=64, keepalive_expiry=_IDLE_SECONDS
        )

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            return
        body = await read_body(receive)
        path = scope["raw_path"]
        if (page := self._pages.get(path)) and scope["method"] in ("GET", "HEAD"):
            status, headers, answer = await asyncio.to_thread(page.answer, list(scope["headers"]))
        elif not is_in_stage(path, self._upstream.stage):
            status, headers, answer = self._own_answer("MISSING_AUTHENTICATION_TOKEN")
        elif body is None or is_head_too_large(scope):
            status, headers, answer = self._own_answer("REQUEST_TOO_LARGE")
        else:
            target = path + b"?" + scope["query_string"] if scope["query_string"] else path
            status, headers, answer = await self._forward(scope["method"], target, list(scope["headers"]), body)
        if not any(name.lower() == b"content-length" for name, _ in headers) and status not in (204, 304):
            headers.append((b"content-length", str(len(answer)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})
        await send({"type": "http.response.body", "body": answer, "more_body": False})

    async def close(self) -> None:
        await self._pool.aclose()

    async def _forward(self, method: str, target: bytes, headers: Headers, body: bytes) -> tuple[int, Headers, bytes]:
        try:
            response = await self._pool.request(
                method.encode(),
                httpcore.URL(scheme=b"http", host=b"127.0.0.1", port=self._upstream.port, target=target),
                headers=[*request_headers(headers, body, self._upstream.host), self._key],
                content=body,
                extensions={"timeout": {"connect": 5.0, "read": _TIMEOUT_SECONDS, "write": 60.0, "pool": 5.0}},
            )
        except httpcore.TimeoutException:
            return self._own_answer("INTEGRATION_TIMEOUT")
        except (httpcore.NetworkError, httpcore.ProtocolError):
            return self._own_answer("DEFAULT_5XX")
        response_headers = end_to_end(response.headers)
        if is_function_failure(response.status, response_headers):
            return self._own_answer("THROTTLED" if response.status == 429 else "DEFAULT_5XX")
        return response.status, response_headers, response.content

    def _own_answer(self, type_: str) -> tuple[int, Headers, bytes]:
        return self._upstream.gateway_responses[type_].render(str(uuid.uuid4()))


def is_in_stage(raw_path: bytes, stage: str) -> bool:
    prefix = b"/" + stage.encode()
    return raw_path == prefix or raw_path.startswith(prefix + b"/")


def is_head_too_large(scope: HTTPScope) -> bool:
    """Whether API Gateway would refuse the request's first line and headers together."""
    line = len(scope["method"]) + len(scope["raw_path"]) + len(scope["query_string"])
    return line + sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES


def request_headers(headers: Headers, body: bytes, host: bytes) -> Headers:
    """A request's headers for the next hop: all of them, in their order, but for those of the connection."""
    has_body = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in headers)
    passed_on = [
        (name, value)
        for name, value in end_to_end(headers)
        if name.lower() not in (b"host", b"content-length", b"expect")
    ]
    length = [(b"content-length", str(len(body)).encode())] if has_body else []
    return [(b"host", host), *passed_on, *length]


def end_to_end(headers: Headers) -> Headers:
    """Headers without those of one connection only (RFC 9110, section 7.6.1)."""
    named = {
        option.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for option in value.split(b",")
    }
    return [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP | named]


def is_function_failure(status: int, headers: Headers) -> bool:
    """Whether MiniStack tells how a function failed. Our functions, and gateway responses, say problem+json there."""
    types = [value for name, value in headers if name.lower() == b"content-type"]
    return (status == 429 or status >= 500) and types[:1] == [b"application/json"]


def bind(port: int) -> socket.socket:
    """Take the port, or any free one for 0. Raises `CommandError` if somebody else has it."""
    with socket.socket() as probe:
        # On macOS an address can be bound that a server on all interfaces answers already.
        if port and probe.connect_ex(("127.0.0.1", port)) == 0:
            raise _port_taken(port)
    bound = socket.socket()
    try:
        try:
            # Nobody else can have it from here on. With `SO_REUSEADDR` on both sides two stacks of two checkouts would
            # get it, and the one that has built longer be told only when it is to listen.
            bound.bind(("127.0.0.1", port))
        except OSError as taken:
            if taken.errno != errno.EADDRINUSE:
                raise
            # Only the connections of a stack that has ended may still be there.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(("127.0.0.1", port))
    except PermissionError as denied:
        bound.close()
        raise CommandError(f"Port {port} needs more rights. Choose one above 1023: PORT=3001 make run") from denied
    except OSError as taken:
        bound.close()
        raise _port_taken(port) from taken
    return bound


def _port_taken(port: int) -> CommandError:
    other = port + 1 if port < 65535 else 3001
    return CommandError(f"Port {port} is taken. Stop what answers there, or choose another: PORT={other} make run")


@contextmanager
def serving(application: Application, bound: socket.socket) -> Iterator[None]:
    """Answer on the bound socket, in a thread of its own, until the block is left."""
    port = bound.getsockname()[1]
    try:
        # Inherited by its connections, which then keep no later stack from the port.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Here and now: whoever connects from here on is answered, and a port lost to somebody else is noticed.
        bound.listen(128)
    except OSError as taken:
        raise _port_taken(port) from taken
    config = Config()
    config.bind = [f"fd://{bound.detach()}"]
    config.errorlog = config.accesslog = None
    config.include_date_header = config.include_server_header = False
    config.keep_alive_timeout = 75
    config.keep_alive_max_requests = 1_000_000
    config.graceful_timeout = _STOP_SECONDS
    # More than API Gateway takes: whoever sends too much is to be told so.
    config.h11_max_incomplete_size = 64 * MAX_HEADER_BYTES
    stop = threading.Event()

    async def serve_until_stopped() -> None:
        asyncio.get_running_loop().set_exception_handler(_but_for_what_was_cut_off)
        try:
            await serve(application, config, shutdown_trigger=lambda: asyncio.to_thread(stop.wait))
        finally:
            await application.close()

    thread = threading.Thread(target=asyncio.run, args=(serve_until_stopped(),), name="proxy")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _but_for_what_was_cut_off(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say what goes wrong in the background; not that a request was cut off, for who stops the stack knows that."""
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)


async def read_body(receive: ASGIReceiveCallable) -> bytes | None:
    """The request's body, or `None` if it is too large. Read to its end: a client that still sends hears nothing."""
    body = bytearray()
    too_large = False
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break
        too_large = too_large or len(body) + len(message["body"]) > MAX_BODY_BYTES
        if not too_large:
            body += message["body"]
        more = message["more_body"]
    return None if too_large else bytes(body)
