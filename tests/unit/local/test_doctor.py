"""The checks of `make doctor`: the running stack, the port and Java."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import doctor
from local.doctor import CheckResult


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


# The checks are private, because `make doctor` runs all of them. Here each is tested alone.


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
    assert f"PORT={taken_port + 1} make run" in (finding.advice or "")


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
