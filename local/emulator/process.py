"""The AWS emulator (MiniStack), run as a process on a free loopback port."""

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

from command_line.environment import ACCESS_KEY_ID, LOCAL_REGION, SECRET_ACCESS_KEY, make_child_environment
from command_line.errors import CommandError
from command_line.processes import start_process
from local.running import DESCRIPTION

_READY_TIMEOUT_SECONDS = 60
_STOP_SECONDS = 6
_SAVE_SECONDS = 60
_POLL_SECONDS = 0.05
_MAX_START_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Emulator:
    port: int
    log: Path
    process: subprocess.Popen[bytes]
    key: str = field(repr=False)
    """Key that admits requests of web pages; see `guard.ProgramsOnly`."""

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, service: str) -> Any:
        """Return a boto3 client for a service. The caller closes it."""
        return make_client(self.endpoint_url, service)


def make_client(endpoint_url: str, service: str) -> Any:
    """Return a boto3 client for a service of the emulator at `endpoint_url`. The caller closes it."""
    session = boto3.Session(
        aws_access_key_id=ACCESS_KEY_ID, aws_secret_access_key=SECRET_ACCESS_KEY, region_name=LOCAL_REGION
    )
    return session.client(
        service,  # type: ignore[call-overload]  # the service name is a variable
        endpoint_url=endpoint_url,
        config=Config(retries={"total_max_attempts": 1}, proxies={}, max_pool_connections=50),
    )


@contextmanager
def open_emulator_client(endpoint_url: str, service: str) -> Iterator[Any]:
    """Yield a client for a service. Raises `CommandError` if the emulator stopped responding."""
    with closing(make_client(endpoint_url, service)) as client:
        try:
            yield client
        except (BotocoreConnectionError, HTTPClientError) as error:
            raise CommandError("The stack stopped responding. Start it again: make run") from error


@contextmanager
def start_emulator(
    project: Path,
    state: Path,
    unpacked: Path,
    *,
    enforce_policies: bool,
    sources: Path | None = None,
    saved_tables: Path | None = None,
) -> Iterator[Emulator]:
    """Run an emulator while the block runs.

    It keeps its files in `state`, and unpacked functions and layers in `unpacked`. With `enforce_policies` it enforces
    the policies of each function's role and refuses unknown access keys. With `sources`, a checkout, each invocation
    runs the current sources of the function and its layers. With `saved_tables`, a file, the tables start with the
    items in it, and are saved to it at the end.
    """
    settings = {"LOCAL_STACK_SOURCES": sources, "LOCAL_STACK_SAVED_TABLES": saved_tables}
    log = state / "logs" / "emulator.log"
    (state / "emulator").mkdir(parents=True, exist_ok=True)
    for attempt in range(1, _MAX_START_ATTEMPTS + 1):
        port = find_free_port()
        key = secrets.token_urlsafe()
        with start_process(
            [sys.executable, "-m", "local.emulator.host"],
            environment={
                **_environment(port, key, state, unpacked, enforce_policies=enforce_policies),
                **{name: str(path) for name, path in settings.items() if path},
            },
            directory=project,
            log=log,
            stop_seconds=_SAVE_SECONDS if saved_tables else _STOP_SECONDS,
            stdin=subprocess.PIPE,
        ) as process:
            if _wait_until_ready(port, process):
                yield Emulator(port, log, process, key)
                return
        # Another process can take the port before the emulator binds it.
        if attempt == _MAX_START_ATTEMPTS:
            raise CommandError(f"The AWS emulator did not start. See {log}.")


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
            # The default concurrency of an AWS account. The emulator's default depends on the memory.
            "LAMBDA_ACCOUNT_CONCURRENCY": "1000",
            # Disable listeners on fixed ports for unused services.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            # Keep the emulator from removing containers on the user's Docker.
            "DOCKER_HOST": f"unix://{scratch}/no-docker",
        },
    )


def find_free_port() -> int:
    """Return a loopback port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Return whether the emulator becomes ready before it ends or the timeout expires."""
    deadline = time.monotonic() + _READY_TIMEOUT_SECONDS
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if client.get("/_ministack/ready").is_success:
                    return process.poll() is None
            except httpx.TransportError:
                pass
            time.sleep(_POLL_SECONDS)
    return False
