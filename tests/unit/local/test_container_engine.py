"""The address at which containers reach this machine, for each kind of container engine."""

import gc
import json
import socketserver
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from command_line.errors import CommandError
from local.sam_local.container_engine import ContainerAccess, ContainerEngine, connect, detect_engine

DOCKER = {"OperatingSystem": "Debian GNU/Linux 12", "SecurityOptions": ["name=seccomp,profile=builtin"]}
BRIDGE = {
    "IPAM": {
        "Config": [{"Subnet": "fd00::/64", "Gateway": "fd00::1"}, {"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]
    }
}
ON_BRIDGE = ContainerEngine("host.docker.internal", ContainerAccess("172.17.0.1", IPv4Network("172.17.0.0/16")))


def no_bridge() -> Mapping[str, Any]:
    raise AssertionError("the bridge of this engine is not on this machine")


def test_linux_containers_connect_over_the_bridge() -> None:
    engine = detect_engine(DOCKER, lambda: BRIDGE, platform="linux")

    assert engine == ON_BRIDGE
    assert engine.sam_options() == ["--add-host", "host.docker.internal:172.17.0.1"]


@pytest.mark.parametrize(
    ("info", "platform"), [(DOCKER, "darwin"), ({**DOCKER, "OperatingSystem": "Docker Desktop"}, "linux")]
)
def test_engine_in_a_virtual_machine_forwards_to_the_loopback_address(info: dict[str, Any], platform: str) -> None:
    engine = detect_engine(info, no_bridge, platform=platform)

    assert engine == ContainerEngine("host.docker.internal", None)
    assert engine.sam_options() == []


@pytest.mark.parametrize(
    ("info", "host"),
    [
        ({**DOCKER, "Rootless": True}, "host.containers.internal"),
        ({**DOCKER, "SecurityOptions": ["name=rootless"]}, "host.docker.internal"),
    ],
    ids=["podman", "docker"],
)
def test_rootless_engine_admits_only_this_machine(
    info: dict[str, Any], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ContainerAccess("192.0.2.7", IPv4Network("192.0.2.7/32"))
    monkeypatch.setattr("local.sam_local.container_engine.find_own_address", lambda: own)

    assert detect_engine(info, no_bridge, platform="linux") == ContainerEngine(host, own)


@contextmanager
def fake_engine(path: Path, responses: Mapping[str, Any]) -> Iterator[None]:
    """Serve an engine's API on a Unix socket."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            response = json.dumps(responses[self.path.removeprefix("/v1.44")]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(response)))
            self.end_headers()
            self.wfile.write(response)

        def address_string(self) -> str:
            return "engine"

        def log_message(self, *_: object) -> None:
            pass

    with socketserver.UnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield
        server.shutdown()
        thread.join()


def test_engine_at_docker_host_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
    responses = {"/version": {"ApiVersion": "1.44"}, "/info": DOCKER, "/networks/bridge": BRIDGE}

    with fake_engine(tmp_path / "engine.sock", responses):
        assert connect() == ON_BRIDGE


def test_missing_engine_is_reported_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")

    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        with pytest.raises(CommandError, match=r"(?s)no container engine responds.*no\.sock.*Docker.*Podman"):
            connect()
        gc.collect()  # docker-py 7.1 does not close a socket that failed to connect
