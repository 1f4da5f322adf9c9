"""The local gateway forwards requests and responses unchanged, with API Gateway's limits and errors."""

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from command_line.errors import CommandError
from local.gateway.page import WebPage
from local.gateway.proxy import MAX_BODY_BYTES, Proxy, Upstream, bind_port, serve_in_thread
from local.gateway.responses import GatewayResponse
from local.ports import next_free_port


@dataclass
class FakeApi:
    """A fake API that responds with `response` and records the bytes of each request."""

    listener: socket.socket
    response: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    line = stream.readline()
                    if not line:
                        break
                    head += line
                if not head:
                    continue
                length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
                self.bodies.append(stream.read(int(length[0].split(b":")[1])) if length else b"")
                self.heads.append(head)
                connection.sendall(self.response.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fake = FakeApi(listener)
        thread = threading.Thread(target=fake.run)
        thread.start()
        yield fake
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.fixture
def port(api: FakeApi) -> Iterator[int]:
    """Return the port of a proxy in front of the fake API."""
    responses = {
        type_: GatewayResponse(
            type_,
            status,
            {"gatewayresponse.header.Content-Type": "'application/problem+json'"},
            {"application/json": f'{{"code":"{type_.lower()}","requestId":"$context.requestId"}}'},
        )
        for type_, status in (
            ("MISSING_AUTHENTICATION_TOKEN", 404),
            ("REQUEST_TOO_LARGE", 413),
            ("THROTTLED", 429),
            ("DEFAULT_5XX", 500),
            ("INTEGRATION_TIMEOUT", 504),
        )
    }
    with bind_port(0) as bound:
        port = bound.getsockname()[1]
        upstream = Upstream(api.listener.getsockname()[1], "abcd1234", "v1", responses, "key")
        with serve_in_thread(Proxy(upstream), bound):
            yield port


def send(port: int, request: bytes) -> tuple[int, bytes, bytes]:
    """Send the bytes of a request and return the status, head and body of the response."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        response = b""
        while chunk := connection.recv(65536):
            response += chunk
    head, _, body = response.partition(b"\r\n\r\n")
    return int(head.split()[1]), head, body


@pytest.mark.parametrize(
    "target",
    [
        b"/v1/products/a%2Fb",
        b"/v1/products/%7e%41~",
        b"/v1/products/..%2f..%2Fadmin",
        b"/v1/products/../orders",
        b"/v1//products//x/",
        b"/v1/products/x?limit=1&limit=2&cursor=a%20b+c%2B&empty=&flag",
        b"/v1/products/%ZZ",
    ],
)
def test_request_target_is_forwarded_unchanged(api: FakeApi, port: int, target: bytes) -> None:
    assert send(port, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[0] == 200
    assert api.heads[0].split(b"\r\n")[0] == b"GET " + target + b" HTTP/1.1"


def test_host_header_names_the_upstream_api(api: FakeApi, port: int) -> None:
    send(port, b"GET /v1/a HTTP/1.1\r\nHost: s3.localhost\r\nConnection: close\r\n\r\n")
    hosts = [line for line in api.heads[0].split(b"\r\n") if line.lower().startswith(b"host:")]
    assert [line.lower() for line in hosts] == [
        b"host: abcd1234.execute-api.localhost:%d" % api.listener.getsockname()[1]
    ]


def test_repeated_request_headers_stay_repeated(api: FakeApi, port: int) -> None:
    send(
        port,
        b"GET /v1/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nX-One: 1\r\nAuthorization: Bearer b\r\n"
        b"X-One: 2\r\nX-Hop: gone\r\nConnection: close, x-hop\r\n\r\n",
    )
    lines = [line.lower() for line in api.heads[0].split(b"\r\n")]
    assert [line for line in lines if line.startswith((b"authorization", b"x-one", b"x-hop"))] == [
        b"authorization: bearer a",
        b"x-one: 1",
        b"authorization: bearer b",
        b"x-one: 2",
    ]


def test_repeated_response_headers_stay_repeated(api: FakeApi, port: int) -> None:
    api.response = (
        b"HTTP/1.1 302 Found\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nLocation: /v1/b\r\ncontent-length: 0\r\n\r\n"
    )
    status, head, _ = send(port, b"GET /v1/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert status == 302
    assert head.lower().count(b"set-cookie:") == 2
    assert len(api.heads) == 1


def test_body_of_maximum_size_is_forwarded(api: FakeApi, port: int) -> None:
    body = b"x" * MAX_BODY_BYTES
    head = b"POST /v1/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert send(port, head + body)[0] == 200
    assert api.bodies == [body]


def test_chunked_body_is_forwarded_completely(api: FakeApi, port: int) -> None:
    head = b"POST /v1/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert send(port, head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")[0] == 200
    assert api.bodies == [b"abcde"]
    assert b"chunked" not in api.heads[0].lower()


def test_body_above_the_gateways_limit_is_refused(api: FakeApi, port: int) -> None:
    body = b"x" * (MAX_BODY_BYTES + 1)
    head = b"POST /v1/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    status, _, response = send(port, head + body)
    assert (status, json.loads(response)["code"]) == (413, "request_too_large")
    assert api.heads == []


@pytest.mark.parametrize("target", [b"/", b"/v2/a", b"/v1x", b"//v1/a", b"/%761/a"])
def test_path_outside_the_stage_is_not_found(api: FakeApi, port: int, target: bytes) -> None:
    status, head, response = send(port, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (status, json.loads(response)["code"]) == (404, "missing_authentication_token")
    assert b"application/problem+json" in head
    assert api.heads == []


def test_path_without_the_stage_is_not_found_and_the_detail_names_the_address(port: int) -> None:
    request = b"GET /orders/1?a=%20 HTTP/1.1\r\nHost: localhost:3000\r\nConnection: close\r\n\r\n"

    _, _, response = send(port, request)

    assert json.loads(response)["detail"] == (
        "There is no such route. The path of a route begins with /v1: http://localhost:3000/v1/orders/1"
    )


@pytest.mark.parametrize(("status", "expected"), [(b"502", (500, "default_5xx")), (b"429", (429, "throttled"))])
def test_details_of_a_failed_function_are_not_forwarded(
    api: FakeApi, port: int, status: bytes, expected: tuple[int, str]
) -> None:
    api.response = b"HTTP/1.1 " + status + b" X\r\nContent-Type: application/json\r\ncontent-length: 6\r\n\r\nsecret"
    forwarded_status, _, body = send(port, b"GET /v1/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (forwarded_status, json.loads(body)["code"]) == expected


def test_error_response_of_a_function_is_forwarded(api: FakeApi, port: int) -> None:
    api.response = b"HTTP/1.1 503 X\r\nContent-Type: application/problem+json\r\ncontent-length: 2\r\n\r\n{}"
    assert send(port, b"GET /v1/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[::2] == (503, b"{}")


def test_missing_emulator_is_a_problem_response(api: FakeApi, port: int) -> None:
    api.response = b"\r\n\r\n"
    status, _, body = send(port, b"GET /v1/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (status, json.loads(body)["code"]) == (500, "default_5xx")


def test_one_connection_serves_many_requests(api: FakeApi, port: int) -> None:
    request = b"GET /v1/a HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, connection.makefile("rb") as stream:
        for _ in range(3):
            connection.sendall(request)
            assert stream.readline().startswith(b"HTTP/1.1 200")
            while stream.readline() != b"\r\n":
                pass
            assert stream.read(2) == b"ok"
    assert len(api.heads) == 3


def test_port_in_use_is_reported_with_another_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=rf"Port {port} is in use\..* PORT={next_free_port(port)} make run"):
            bind_port(port)


def test_suggested_port_is_not_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert next_free_port(port - 1) != port
        with bind_port(next_free_port(port)) as bound:
            assert bound.getsockname()[1] != port
    assert next_free_port(65535) >= 1024


def test_port_is_reserved_before_the_stack_listens() -> None:
    # Two stacks that start at the same time build for a minute before they listen.
    with bind_port(0) as first:
        port = first.getsockname()[1]
        with pytest.raises(CommandError, match=f"Port {port} is in use"):
            bind_port(port)


def test_port_can_be_bound_again_with_connections_in_time_wait() -> None:
    with bind_port(0) as bound:
        port = bound.getsockname()[1]
        with serve_in_thread(
            Proxy(Upstream(1, "abcd1234", "v1", {}, "key"), {"/": WebPage("text/plain", lambda: b"ok")}), bound
        ):
            # The server closes first, so its side of the connection stays in TIME_WAIT for a minute.
            assert send(port, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")[0] == 200

    bind_port(port).close()
