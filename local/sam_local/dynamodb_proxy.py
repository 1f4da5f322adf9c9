"""Proxy that gives the containers of `sam local` access to the emulator's DynamoDB and event buses.

The emulator listens on the loopback only, because any client can make it run code as a Lambda function. The proxy
listens on an address that containers can reach. It admits only them, and forwards only DynamoDB and PutEvents requests.
"""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import httpcore
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from command_line.errors import CommandError
from local.gateway.guard import CONTAINERS_HOSTS, is_from_a_program
from local.gateway.proxy import Headers, drop_connection_headers, read_body, serve_in_thread
from local.sam_local.container_engine import ContainerAccess

_ALLOWED_TARGETS = (b"DynamoDB_20120810.", b"AWSEvents.PutEvents")
_FORWARDED_HEADERS = frozenset({b"authorization", b"content-type", b"x-amz-date", b"x-amz-target"})
_TIMEOUT_SECONDS = 30.0
_IDLE_SECONDS = 30.0
_IP_FREEBIND = 15  # from Linux's <linux/in.h>


class DynamoDBProxy:
    """ASGI application that forwards the functions' requests to `endpoint_url`."""

    def __init__(self, endpoint_url: str, access: ContainerAccess) -> None:
        self._url = f"{endpoint_url}/"
        self._peers = access.peers
        self._hosts = CONTAINERS_HOSTS | {access.address.encode()}
        self._pool = httpcore.AsyncConnectionPool(max_connections=None, keepalive_expiry=_IDLE_SECONDS)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            return
        body = await read_body(receive)
        status, headers, content = (
            403,
            [(b"content-type", b"text/plain")],
            b"Only containers may call this port, and only DynamoDB and PutEvents.\n",
        )
        if body is not None and self._is_allowed(scope):
            status, headers, content = await self._forward(list(scope["headers"]), body)
        await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})
        await send({"type": "http.response.body", "body": content, "more_body": False})

    async def close(self) -> None:
        await self._pool.aclose()

    def _is_allowed(self, scope: HTTPScope) -> bool:
        client = scope["client"]
        targets = [value for name, value in scope["headers"] if name.lower() == b"x-amz-target"]
        return (
            client is not None
            and ip_address(client[0]) in self._peers
            # Containers of a rootless engine have this machine's address, and so have its browsers.
            and is_from_a_program(scope["headers"], self._hosts)
            and len(targets) == 1
            and targets[0].startswith(_ALLOWED_TARGETS)
        )

    async def _forward(self, headers: Headers, body: bytes) -> tuple[int, Headers, bytes]:
        try:
            response = await self._pool.request(
                "POST",
                self._url,
                headers=[(name, value) for name, value in headers if name.lower() in _FORWARDED_HEADERS],
                content=body,
                extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), _TIMEOUT_SECONDS)},
            )
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
            return 503, [(b"content-type", b"text/plain")], b"DynamoDB does not respond. Is the stack running?\n"
        return response.status, drop_connection_headers(response.headers), response.content


@contextmanager
def serve_dynamodb_proxy(endpoint_url: str, access: ContainerAccess) -> Iterator[int]:
    """Serve the proxy on a free port of the access address while the block runs. Yields the port."""
    bound = socket.socket()
    try:
        if sys.platform == "linux":
            # The bridge starts with its first container, but SAM needs the address before.
            bound.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        bound.bind((access.address, 0))
    except OSError as error:
        bound.close()
        raise CommandError(f"Cannot listen on {access.address}, the address for containers: {error}") from error
    port = int(bound.getsockname()[1])
    with serve_in_thread(DynamoDBProxy(endpoint_url, access), bound):
        yield port
