"""The short address `http://127.0.0.1:3000/v1`, a proxy for `http://API.execute-api.localhost:PORT/v1` of the emulator.

It forwards method, path, query, headers and body unchanged, including the percent-encoding. It adds three gateway
responses that the emulator lacks: 404 outside the stage, 413 above API Gateway's size limits, and 5xx or 429 if a
function fails or is throttled. MiniStack would return the exception to the client. The 404 names the address with the
stage.
"""

import asyncio
import errno
import json
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
from local.ports import next_free_port

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
# API Gateway times out after 29 seconds. Here the cold starts of many functions share one machine.
_READ_TIMEOUT_SECONDS = 120.0
# The emulator closes an idle connection after 75 seconds. A shorter limit avoids requests on a closing connection.
_IDLE_SECONDS = 30.0
# Requests in flight may finish when the stack stops: a little more than the dummy Stripe's slowest response.
_STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Upstream:
    """The API on the emulator, and its gateway responses."""

    port: int
    api_id: str
    stage: str
    gateway_responses: Mapping[str, GatewayResponse]
    key: str = field(repr=False)
    """Key that admits requests of web pages to the emulator."""

    @property
    def host(self) -> bytes:
        return f"{self.api_id}.execute-api.localhost:{self.port}".encode()


class Application(Protocol):
    """An ASGI application that must be closed."""

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Handle one request."""

    async def close(self) -> None:
        """Release its resources."""


class Proxy:
    """ASGI application that serves the local stack's pages and forwards all other requests to the emulator."""

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
            status, headers, content = await asyncio.to_thread(page.respond, list(scope["headers"]))
        elif not is_in_stage(path, self._upstream.stage):
            status, headers, content = self._gateway_response("MISSING_AUTHENTICATION_TOKEN")
            content = _name_address_in_stage(content, scope, self._upstream.stage)
        elif body is None or is_head_too_large(scope):
            status, headers, content = self._gateway_response("REQUEST_TOO_LARGE")
        else:
            target = path + b"?" + scope["query_string"] if scope["query_string"] else path
            status, headers, content = await self._forward(scope["method"], target, list(scope["headers"]), body)
        if not any(name.lower() == b"content-length" for name, _ in headers) and status not in (204, 304):
            headers.append((b"content-length", str(len(content)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})
        await send({"type": "http.response.body", "body": content, "more_body": False})

    async def close(self) -> None:
        await self._pool.aclose()

    async def _forward(self, method: str, target: bytes, headers: Headers, body: bytes) -> tuple[int, Headers, bytes]:
        try:
            response = await self._pool.request(
                method.encode(),
                httpcore.URL(scheme=b"http", host=b"127.0.0.1", port=self._upstream.port, target=target),
                headers=[*forwarded_headers(headers, body, self._upstream.host), self._key],
                content=body,
                extensions={"timeout": {"connect": 5.0, "read": _READ_TIMEOUT_SECONDS, "write": 60.0, "pool": 5.0}},
            )
        except httpcore.TimeoutException:
            return self._gateway_response("INTEGRATION_TIMEOUT")
        except (httpcore.NetworkError, httpcore.ProtocolError):
            return self._gateway_response("DEFAULT_5XX")
        response_headers = drop_connection_headers(response.headers)
        if is_function_failure(response.status, response_headers):
            return self._gateway_response("THROTTLED" if response.status == 429 else "DEFAULT_5XX")
        return response.status, response_headers, response.content

    def _gateway_response(self, type_: str) -> tuple[int, Headers, bytes]:
        return self._upstream.gateway_responses[type_].render(str(uuid.uuid4()))


def is_in_stage(raw_path: bytes, stage: str) -> bool:
    prefix = b"/" + stage.encode()
    return raw_path == prefix or raw_path.startswith(prefix + b"/")


def _name_address_in_stage(problem: bytes, scope: HTTPScope, stage: str) -> bytes:
    """Return the 404 problem with a detail for a client that forgot the stage."""
    host = next((value for name, value in scope["headers"] if name.lower() == b"host"), b"")
    address = f"http://{host.decode('latin-1')}/{stage}{scope['raw_path'].decode('latin-1')}"
    detail = f"There is no such route. The path of a route begins with /{stage}: {address}"
    return json.dumps({**json.loads(problem), "detail": detail}, separators=(",", ":")).encode()


def is_head_too_large(scope: HTTPScope) -> bool:
    """Return whether the request line and headers exceed API Gateway's limit."""
    line = len(scope["method"]) + len(scope["raw_path"]) + len(scope["query_string"])
    return line + sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES


def forwarded_headers(headers: Headers, body: bytes, host: bytes) -> Headers:
    """Return the request headers for the emulator: all in order, except those of the connection."""
    has_body = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in headers)
    passed_on = [
        (name, value)
        for name, value in drop_connection_headers(headers)
        if name.lower() not in (b"host", b"content-length", b"expect")
    ]
    length = [(b"content-length", str(len(body)).encode())] if has_body else []
    return [(b"host", host), *passed_on, *length]


def drop_connection_headers(headers: Headers) -> Headers:
    """Return the headers without those of a single connection (RFC 9110, section 7.6.1)."""
    named = {
        option.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for option in value.split(b",")
    }
    return [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP | named]


def is_function_failure(status: int, headers: Headers) -> bool:
    """Return whether MiniStack reports a failed function. Functions and gateway responses send problem+json instead."""
    types = [value for name, value in headers if name.lower() == b"content-type"]
    return (status == 429 or status >= 500) and types[:1] == [b"application/json"]


def bind_port(port: int) -> socket.socket:
    """Bind the port, or a free one for 0. Raises `CommandError` if the port is in use."""
    with socket.socket() as probe:
        # macOS allows binding an address although a server on all interfaces already uses the port.
        if port and probe.connect_ex(("127.0.0.1", port)) == 0:
            raise _port_in_use(port)
    bound = socket.socket()
    try:
        try:
            # Without `SO_REUSEADDR`, because with it the stacks of two checkouts could both bind the port, and the
            # slower one would fail only when it starts to listen.
            bound.bind(("127.0.0.1", port))
        except OSError as taken:
            if taken.errno != errno.EADDRINUSE:
                raise
            # The port may be held only by closing connections of a stopped stack.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(("127.0.0.1", port))
    except PermissionError as denied:
        bound.close()
        raise CommandError(f"Port {port} is privileged. Choose a port above 1023: PORT=3001 make run") from denied
    except OSError as taken:
        bound.close()
        raise _port_in_use(port) from taken
    return bound


def _port_in_use(port: int) -> CommandError:
    other = next_free_port(port)
    return CommandError(f"Port {port} is in use. Stop the program on it, or choose another: PORT={other} make run")


@contextmanager
def serve_in_thread(application: Application, bound: socket.socket) -> Iterator[None]:
    """Serve the application on the bound socket, in a thread, while the block runs."""
    port = bound.getsockname()[1]
    try:
        # Connections inherit it, so that they do not block the port for the next stack.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Listen before the thread starts, so that clients can connect at once and a lost port raises here.
        bound.listen(128)
    except OSError as taken:
        raise _port_in_use(port) from taken
    config = Config()
    config.bind = [f"fd://{bound.detach()}"]
    config.errorlog = config.accesslog = None
    config.include_date_header = config.include_server_header = False
    config.keep_alive_timeout = 75
    config.keep_alive_max_requests = 1_000_000
    config.graceful_timeout = _STOP_SECONDS
    # Above API Gateway's limit, so that the client gets its 413.
    config.h11_max_incomplete_size = 64 * MAX_HEADER_BYTES
    stop = threading.Event()

    async def serve_until_stopped() -> None:
        asyncio.get_running_loop().set_exception_handler(_ignore_cancellation)
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


def _ignore_cancellation(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report background errors, except requests that the shutdown cancelled."""
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)


async def read_body(receive: ASGIReceiveCallable) -> bytes | None:
    """Read the whole body. Return `None` if it is too large. A client that still sends would miss the response."""
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
