"""The checks of `./shop doctor`: the running stack, the port and Java. They run before anything is installed."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line.project import PROJECT
from local import doctor
from local.doctor import CheckResult
from local.ports import next_free_port


@pytest.fixture
def taken_port() -> Iterator[int]:
    """Return a port in use."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def set_running_stack(monkeypatch: pytest.MonkeyPatch, port: int | None, *, starting: bool = False) -> None:
    description = {"apiUrl": f"http://127.0.0.1:{port}/v1"} if port else None
    monkeypatch.setattr(doctor, "find_running_stack", lambda: description)
    monkeypatch.setattr(doctor, "is_running", lambda: description is not None or starting)


# The checks are private, because `./shop doctor` runs all of them. Here each is tested alone.


@pytest.mark.parametrize(
    ("port", "starting", "found"),
    [(3400, False, "running at http://127.0.0.1:3400/v1"), (None, False, "not running"), (None, True, "starting")],
)
def test_stack_is_reported_with_its_state(
    monkeypatch: pytest.MonkeyPatch, port: int | None, found: str, *, starting: bool
) -> None:
    set_running_stack(monkeypatch, port, starting=starting)
    assert doctor._stack() == CheckResult("Stack", found)


def test_port_of_the_running_stack_is_reported_as_its_own(monkeypatch: pytest.MonkeyPatch, taken_port: int) -> None:
    set_running_stack(monkeypatch, taken_port)
    assert doctor._port(taken_port) == CheckResult(f"Port {taken_port}", "used by the running stack")


def test_free_port_is_reported_while_a_stack_uses_another(monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    set_running_stack(monkeypatch, 3400)
    assert doctor._port(free_port) == CheckResult(f"Port {free_port}", "free")


@pytest.mark.parametrize("stack_port", [None, 3400])
def test_port_of_another_program_comes_with_advice(
    monkeypatch: pytest.MonkeyPatch, taken_port: int, stack_port: int | None
) -> None:
    set_running_stack(monkeypatch, stack_port)

    finding = doctor._port(taken_port)

    assert (finding.found, finding.is_required) == ("in use", False)
    assert f"PORT={next_free_port(taken_port)} make run" in (finding.advice or "")


def test_port_is_not_checked_while_a_stack_starts(monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    set_running_stack(monkeypatch, None, starting=True)
    assert doctor._port(free_port).found == "not checked while a stack is starting"


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n", 'openjdk version "11.0.2" 2019-01-15'),
        ("#!/bin/sh\nexit 1\n", "does not run"),
        ("\x7fELF of another machine", "does not run"),
    ],
)
def test_old_or_broken_java_comes_with_advice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, found: str
) -> None:
    java = tmp_path / "java"
    java.write_text(program)
    java.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda _: str(java))

    finding = doctor._java()

    assert (finding.found, finding.is_required) == (found, False)
    assert "Install Java 17" in (finding.advice or "")


@pytest.fixture
def fresh_clone(tmp_path: Path) -> Path:
    """Give a copy of the code that `./shop doctor` imports, without `.venv`."""
    shutil.copy(PROJECT / "shop", tmp_path)
    for package in ("command_line", "local"):
        shutil.copytree(PROJECT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run_shop(clone: Path, *arguments: str, python: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": str(python)}
    return subprocess.run(
        ["./shop", *arguments], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def plain_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a Python that has the standard library only."""
    python = tmp_path_factory.mktemp("python") / "python"
    # -S: no packages. -E would hide PYTHONPATH, which `./shop` sets.
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    return python


def test_doctor_runs_before_anything_is_installed(fresh_clone: Path, plain_python: Path) -> None:
    result = run_shop(fresh_clone, "doctor", python=plain_python)

    assert (result.returncode, result.stderr) == (0, "")
    for shown in ("Python", "Disk", "Port 3000", "Java", "! Packages          not installed", "make run"):
        assert shown in result.stdout


def test_interrupted_installation_does_not_break_the_doctor(fresh_clone: Path, plain_python: Path) -> None:
    (fresh_clone / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(plain_python, fresh_clone / ".venv" / "bin" / "python")

    assert run_shop(fresh_clone, "doctor", python=plain_python).returncode == 0


def test_command_before_the_installation_names_make_setup(fresh_clone: Path, plain_python: Path) -> None:
    result = run_shop(fresh_clone, "orders", python=plain_python)

    assert result.returncode == 1
    assert result.stderr.endswith("To create it: make setup\n")


def test_doctor_refuses_an_old_python_with_advice(fresh_clone: Path, tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)

    result = run_shop(fresh_clone, "doctor", python=old)

    assert result.returncode == 1
    assert "Python 3.11 to 3.14 is required" in result.stderr


def test_missing_make_comes_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)

    finding = doctor._make()

    assert (finding.found, finding.is_required) == ("not found", True)
    assert "Install make" in (finding.advice or "")
