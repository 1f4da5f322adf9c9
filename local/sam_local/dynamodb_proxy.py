"""A door to the emulator's DynamoDB for the containers of `sam local`, and to its event buses; and for nothing else.

The emulator answers on the loopback alone, and has reason to: whoever reaches it can have it run code, as a Lambda
function. What listens on an address that containers reach must let nobody else in, and nothing through but DynamoDB
and the events that functions publish.
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

_TARGETS = (b"DynamoDB_20120810.", b"AWSEvents.PutEvents")
_PASSED_ON = frozenset({b"authorization", b"content-type", b"x-amz-date", b"x-amz-target"})
_TIMEOUT_SECONDS = 30.0
_IDLE_SECONDS = 30.0
_IP_FREEBIND = 15  # Linux's


class DynamoDBProxy:
    """An ASGI application that passes on to `endpoint_url` what functions call by `access`."""

    def __init__(self, endpoint_url: str, access: ContainerAccess) -> None:
        self._url = f"{endpoint_url}/"
        self._peers = access.peers
        self._hosts = CONTAINERS_HOSTS | {access.address.encode()}
        self._pool = httpcore.AsyncConnectionPool(max_connections=None, keepalive_expiry=_IDLE_SECONDS)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            return
        body = await read_body(receive)
        status, headers, answer = (
            403,
            [(b"content-type", b"text/plain")],
            b"DynamoDB and PutEvents only, and not for everybody.\n",
        )
        if body is not None and self._is_welcome(scope):
            status, headers, answer = await self._forward(list(scope["headers"]), body)
        await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})
        await send({"type": "http.response.body", "body": answer, "more_body": False})

    async def close(self) -> None:
        await self._pool.aclose()

    def _is_welcome(self, scope: HTTPScope) -> bool:
        client = scope["client"]
        targets = [value for name, value in scope["headers"] if name.lower() == b"x-amz-target"]
        return (
            client is not None
            and ip_address(client[0]) in self._peers
            # A rootless engine's containers come from this machine's own address, as its browsers do.
            and is_from_a_program(scope["headers"], self._hosts)
            and len(targets) == 1
            and targets[0].startswith(_TARGETS)
        )

    async def _forward(self, headers: Headers, body: bytes) -> tuple[int, Headers, bytes]:
        try:
            response = await self._pool.request(
                "POST",
                self._url,
                headers=[(name, value) for name, value in headers if name.lower() in _PASSED_ON],
                content=body,
                extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), _TIMEOUT_SECONDS)},
            )
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
            return 503, [(b"content-type", b"text/plain")], b"DynamoDB does not answer. Has the stack ended?\n"
        return response.status, drop_connection_headers(response.headers), response.content


@contextmanager
def serve_dynamodb_proxy(endpoint_url: str, access: ContainerAccess) -> Iterator[int]:
    """Keep the door open on a free port of `access` until the block is left. Yields the port."""
    bound = socket.socket()
    try:
        if sys.platform == "linux":
            # A bridge comes up with its first container, and SAM wants to know the address before that.
            bound.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        bound.bind((access.address, 0))
    except OSError as error:
        bound.close()
        raise CommandError(f"Cannot listen where containers reach this machine ({access.address}): {error}") from error
    port = int(bound.getsockname()[1])
    with serve_in_thread(DynamoDBProxy(endpoint_url, access), bound):
        yield port
