"""The proxy lets containers call the emulator's DynamoDB, and nothing else of the emulator."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Network

import httpx
import pytest

from command_line.errors import CommandError
from local.sam_local.container_engine import ContainerAccess
from local.sam_local.dynamodb_proxy import serve_dynamodb_proxy

LOOPBACK = ContainerAccess("127.0.0.1", IPv4Network("127.0.0.0/8"))
CALL = {
    "X-Amz-Target": "DynamoDB_20120810.GetItem",
    "Content-Type": "application/x-amz-json-1.0",
    "Authorization": "AWS4-HMAC-SHA256 Credential=local/20261123/us-east-1/dynamodb/aws4_request",
}


class Emulator(ThreadingHTTPServer):
    """A fake emulator that records its calls."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Emulator

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.calls.append((self.path, headers, body))
        self.send_response(400)
        self.send_header("x-amz-crc32", "42")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def post(port: int, path: str, headers: dict[str, str]) -> httpx.Response:
    return httpx.post(f"http://127.0.0.1:{port}{path}", headers=headers, content=b'{"a":1}', trust_env=False)


def test_dynamodb_call_and_its_response_are_forwarded(emulator: Emulator) -> None:
    with serve_dynamodb_proxy(emulator.url, LOOPBACK) as port:
        response = post(port, "/", CALL)

    assert (response.status_code, response.headers["x-amz-crc32"], response.json()) == (400, "42", {})
    ((path, headers, body),) = emulator.calls
    assert (path, json.loads(body)) == ("/", {"a": 1})
    assert headers["x-amz-target"] == CALL["X-Amz-Target"]
    assert headers["authorization"] == CALL["Authorization"]


@pytest.mark.parametrize("target", [None, "AWSLambda.CreateFunction", "DynamoDBStreams_20120810.ListStreams"])
def test_call_of_another_service_is_refused(emulator: Emulator, target: str | None) -> None:
    headers = CALL | {"X-Amz-Target": target} if target else {}
    with serve_dynamodb_proxy(emulator.url, LOOPBACK) as port:
        assert post(port, "/2015-03-31/functions", headers).status_code == 403

    assert not emulator.calls


def test_second_target_and_path_of_another_service_are_not_forwarded(emulator: Emulator) -> None:
    two = [*CALL.items(), ("X-Amz-Target", "AWSLambda.CreateFunction")]
    with serve_dynamodb_proxy(emulator.url, LOOPBACK) as port:
        url = f"http://127.0.0.1:{port}/2015-03-31/functions"
        assert httpx.post(url, headers=two, trust_env=False).status_code == 403
        assert httpx.post(url, headers={**CALL, "X-Other": "x"}, content=b"{}", trust_env=False).status_code == 400

    ((path, headers, _),) = emulator.calls
    assert path == "/"
    assert "x-other" not in headers


def test_call_from_another_network_is_refused(emulator: Emulator) -> None:
    with serve_dynamodb_proxy(emulator.url, ContainerAccess("127.0.0.1", IPv4Network("172.17.0.0/16"))) as port:
        assert post(port, "/", CALL).status_code == 403

    assert not emulator.calls


def test_call_without_a_running_stack_returns_503() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with serve_dynamodb_proxy(url, LOOPBACK) as port:
        response = post(port, "/", CALL)

    assert (response.status_code, response.text) == (503, "DynamoDB does not respond. Is the stack running?\n")


def test_unavailable_address_is_reported() -> None:
    with (
        pytest.raises(CommandError, match="Cannot listen on ::1, the address for containers"),
        serve_dynamodb_proxy("http://127.0.0.1:1", ContainerAccess("::1", LOOPBACK.peers)),
    ):
        pass


@pytest.mark.parametrize(
    "page_headers",
    [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}],
    ids=lambda headers: next(iter(headers)),
)
def test_call_from_a_web_page_is_refused(emulator: Emulator, page_headers: dict[str, str]) -> None:
    with serve_dynamodb_proxy(emulator.url, LOOPBACK) as port:
        assert post(port, "/", CALL | page_headers).status_code == 403

    assert not emulator.calls


@pytest.mark.parametrize("name", ["host.docker.internal", "host.containers.internal"])
def test_host_names_that_containers_use_are_accepted(emulator: Emulator, name: str) -> None:
    with serve_dynamodb_proxy(emulator.url, LOOPBACK) as port:
        assert post(port, "/", CALL | {"Host": f"{name}:{port}"}).status_code == 400

    assert len(emulator.calls) == 1
