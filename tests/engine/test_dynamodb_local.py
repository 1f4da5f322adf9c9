"""DynamoDB Local is reachable only for programs on this machine."""

import socket
from urllib.parse import urlsplit

import httpx
import pytest


def test_engine_listens_on_the_loopback_address_only(engine: str) -> None:
    port = urlsplit(engine).port

    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    # A server on all interfaces answers at every address of the loopback network.
    with pytest.raises(OSError, match=r"refused|unreachable|assign|timed out"):
        socket.create_connection(("127.0.0.2", port), timeout=5)


def test_engine_allows_no_cross_origin_request(engine: str) -> None:
    preflight = {
        "Origin": "https://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-amz-target",
    }

    answer = httpx.options(engine, headers=preflight, trust_env=False)

    assert "access-control-allow-origin" not in answer.headers
