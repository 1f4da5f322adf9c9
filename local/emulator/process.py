"""The AWS emulator (MiniStack) as a process on a free loopback port."""

import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore.config import Config
from botocore.exceptions import ConnectionError as BotocoreConnectionError
from botocore.exceptions import HTTPClientError

from command_line.environment import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, make_child_environment
from command_line.errors import CommandError
from command_line.processes import start_process
from local.running import DESCRIPTION

_READY_SECONDS = 60
_STOP_SECONDS = 6
_POLL_SECONDS = 0.05
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Emulator:
    port: int
    log: Path
    process: subprocess.Popen[bytes]
    key: str = field(repr=False)
    """Lets the requests of web pages pass; see `guard.ProgramsOnly`."""

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, service: str) -> Any:
        """A boto3 client of one of its services. The caller closes it."""
        return make_client(self.endpoint_url, service)


def make_client(endpoint_url: str, service: str) -> Any:
    """A boto3 client of a service of the emulator at `endpoint_url`. The caller closes it."""
    session = boto3.Session(
        aws_access_key_id=ACCESS_KEY_ID, aws_secret_access_key=SECRET_ACCESS_KEY, region_name=REGION
    )
    return session.client(
        service,  # type: ignore[call-overload]  # any of them, by name
        endpoint_url=endpoint_url,
        config=Config(retries={"total_max_attempts": 1}, proxies={}, max_pool_connections=50),
    )


@contextmanager
def open_aws_client(endpoint_url: str, service: str) -> Iterator[Any]:
    """Yield a client as `make_client` makes it. Raises `CommandError` if the emulator does not answer any more."""
    with closing(make_client(endpoint_url, service)) as client:
        try:
            yield client
        except (BotocoreConnectionError, HTTPClientError) as error:
            raise CommandError("The stack has stopped answering. Start it again: make run") from error


@contextmanager
def start_emulator(project: Path, state: Path, unpacked: Path, *, enforce_policies: bool) -> Iterator[Emulator]:
    """An emulator that answers, until the block is left.

    What it keeps on disk is in `state`, but for the unpacked functions and layers, which are kept in `unpacked`.
    With `enforce_policies` a function may do only what its role's policies say, and unknown access keys nothing.
    """
    log = state / "logs" / "emulator.log"
    (state / "emulator").mkdir(parents=True, exist_ok=True)
    for attempt in range(1, _ATTEMPTS + 1):
        port = find_free_port()
        key = secrets.token_urlsafe()
        with start_process(
            [sys.executable, "-m", "local.emulator.host"],
            environment=_environment(port, key, state, unpacked, enforce_policies=enforce_policies),
            directory=project,
            log=log,
            stop_seconds=_STOP_SECONDS,
            stdin=subprocess.PIPE,
        ) as process:
            if _answers(port, process):
                yield Emulator(port, log, process, key)
                return
        # Somebody may have taken the port between our looking and the emulator's binding it.
        if attempt == _ATTEMPTS:
            raise CommandError(f"The AWS emulator does not start. See {log}.")


def _environment(port: int, key: str, state: Path, unpacked: Path, *, enforce_policies: bool) -> dict[str, str]:
    scratch = state / "emulator"
    return make_child_environment(
        scratch,
        {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "AUTH": "true" if enforce_policies else "false",
            "TMPDIR": str(scratch),
            "LOCAL_STACK_KEY": key,
            "LOCAL_STACK_UNPACKED": str(unpacked),
            "LOCAL_STACK_DESCRIPTION": str(state / DESCRIPTION),
            # As many functions at once as a new AWS account may run; the emulator's own choice depends on the memory.
            "LAMBDA_ACCOUNT_CONCURRENCY": "1000",
            # Listeners on fixed ports, for services that we do not use.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            # It would tidy up containers on the user's Docker.
            "DOCKER_HOST": f"unix://{scratch}/no-docker",
        },
    )


def find_free_port() -> int:
    """A port of the loopback that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Whether the emulator becomes ready, rather than ending or staying silent."""
    deadline = time.monotonic() + _READY_SECONDS
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if client.get("/_ministack/ready").is_success:
                    return process.poll() is None
            except httpx.TransportError:
                pass
            time.sleep(_POLL_SECONDS)
    return False
