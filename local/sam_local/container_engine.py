"""Detection of Docker or Podman, and of the address by which containers reach this machine."""

import os
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

import docker  # type: ignore[import-untyped]  # it has no types
from docker.errors import DockerException  # type: ignore[import-untyped]  # likewise

from command_line.errors import CommandError

_ENGINE_TIMEOUT_SECONDS = 10
# An address for documentation, to which nothing is sent. https://www.rfc-editor.org/rfc/rfc5737
_TEST_NET_ADDRESS = ("192.0.2.1", 9)

ENGINE_REQUIRED = """\
`sam local` runs the functions in containers, but no container engine responds at
{where}: {reason}
Start Docker. Or start Podman's service and set DOCKER_HOST to its socket:

  systemctl --user start podman.socket
  export DOCKER_HOST=unix://$XDG_RUNTIME_DIR/podman/podman.sock"""


@dataclass(frozen=True, slots=True)
class ContainerAccess:
    """An address of this machine that containers can reach, and the addresses of the containers."""

    address: str
    peers: IPv4Network


@dataclass(frozen=True, slots=True)
class ContainerEngine:
    """A running container engine.

    Containers do not share this machine's loopback. They reach this machine by the name `host`, at the address of
    `access`. If `access` is None, the engine forwards from its virtual machine to the loopback.
    """

    host: str
    access: ContainerAccess | None

    def sam_options(self) -> list[str]:
        """Return options that make `sam local` define `host.docker.internal`, where the engine does not."""
        return ["--add-host", f"host.docker.internal:{self.access.address}"] if self.access else []


def connect() -> ContainerEngine:
    """Return the engine that `sam local` will use. Raises `CommandError` if none responds."""
    try:
        client = docker.from_env(timeout=_ENGINE_TIMEOUT_SECONDS)
        try:
            return detect_engine(client.info(), lambda: client.networks.get("bridge").attrs, platform=sys.platform)
        finally:
            client.close()
    except DockerException as error:
        where = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        raise CommandError(ENGINE_REQUIRED.format(where=where, reason=_root_cause(error))) from None


def detect_engine(
    info: Mapping[str, Any], bridge: Callable[[], Mapping[str, Any]], *, platform: str
) -> ContainerEngine:
    """Return the engine with this `docker info` and default network, on this `sys.platform`."""
    if platform != "linux" or info.get("OperatingSystem") == "Docker Desktop":
        return ContainerEngine("host.docker.internal", None)
    if info.get("Rootless"):
        # Podman's name for its forwarder to this machine's address. The forwarder differs between versions.
        return ContainerEngine("host.containers.internal", find_own_address())
    if "name=rootless" in (info.get("SecurityOptions") or []):
        return ContainerEngine("host.docker.internal", find_own_address())
    (config,) = (config for config in bridge()["IPAM"]["Config"] if ":" not in config["Subnet"])
    return ContainerEngine("host.docker.internal", ContainerAccess(config["Gateway"], IPv4Network(config["Subnet"])))


def find_own_address() -> ContainerAccess:
    """Return the address for containers of a rootless engine. A process on this machine connects for them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_TEST_NET_ADDRESS)
        except OSError as error:
            raise CommandError(
                "This machine has only a loopback address, which containers cannot reach. Connect it to a network."
            ) from error
        address = probe.getsockname()[0]
    return ContainerAccess(address, IPv4Network(address))


def _root_cause(error: BaseException) -> str:
    """Return the message of the root cause, without the HTTP errors around it."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error)
