"""Docker, or Podman's Docker-compatible service: whether it answers, and how its containers reach this machine."""

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

_TIMEOUT_SECONDS = 10
# Any address that is not ours: nothing is sent to it. https://www.rfc-editor.org/rfc/rfc5737
_SOMEWHERE_ELSE = ("192.0.2.1", 9)

NEEDED = """\
`sam local` runs the functions in containers, and no container engine answers at
{where}: {reason}
Start Docker, or Podman's service and name its socket in DOCKER_HOST:

  systemctl --user start podman.socket
  export DOCKER_HOST=unix://$XDG_RUNTIME_DIR/podman/podman.sock"""


@dataclass(frozen=True, slots=True)
class ContainerAccess:
    """An address of this machine that containers reach, and the addresses that they come from."""

    address: str
    peers: IPv4Network


@dataclass(frozen=True, slots=True)
class ContainerEngine:
    """A container engine that answers.

    Containers do not share this machine's loopback. They reach the machine by the name `host`: at `access`, or, where
    that is None, on the loopback all the same, because the engine forwards to it from its virtual machine.
    """

    host: str
    access: ContainerAccess | None

    def sam_options(self) -> list[str]:
        """Options of `sam local` that give containers the name `host.docker.internal`, where nobody else does."""
        return ["--add-host", f"host.docker.internal:{self.access.address}"] if self.access else []


def connect() -> ContainerEngine:
    """The engine that `sam local` will use. Raises `CommandError` where none answers."""
    try:
        client = docker.from_env(timeout=_TIMEOUT_SECONDS)
        try:
            return detect_engine(client.info(), lambda: client.networks.get("bridge").attrs, platform=sys.platform)
        finally:
            client.close()
    except DockerException as error:
        where = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        raise CommandError(NEEDED.format(where=where, reason=_innermost(error))) from None


def detect_engine(
    info: Mapping[str, Any], bridge: Callable[[], Mapping[str, Any]], *, platform: str
) -> ContainerEngine:
    """The engine that describes itself, and its default network, like this to a machine with this `sys.platform`."""
    if platform != "linux" or info.get("OperatingSystem") == "Docker Desktop":
        return ContainerEngine("host.docker.internal", None)
    if info.get("Rootless"):
        # Podman's name for whatever forwards to our own address; it differs between its versions.
        return ContainerEngine("host.containers.internal", find_own_address())
    if "name=rootless" in (info.get("SecurityOptions") or []):
        return ContainerEngine("host.docker.internal", find_own_address())
    (config,) = (config for config in bridge()["IPAM"]["Config"] if ":" not in config["Subnet"])
    return ContainerEngine("host.docker.internal", ContainerAccess(config["Gateway"], IPv4Network(config["Subnet"])))


def find_own_address() -> ContainerAccess:
    """What a rootless engine's containers connect to. A process of this machine connects for them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEWHERE_ELSE)
        except OSError as error:
            raise CommandError("This machine has no address besides the loopback, which containers need.") from error
        address = probe.getsockname()[0]
    return ContainerAccess(address, IPv4Network(address))


def _innermost(error: BaseException) -> str:
    """What really went wrong, without the layers of HTTP around it."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error)
