"""Exit codes and final output of commands."""

import signal
import sys

import pytest
import typer

from command_line.errors import CommandError
from command_line.program import run_program
from command_line.signals import Stopped


def app_that_raises(error: BaseException) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise error

    return app


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["program"])


def test_command_error_is_printed_and_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        run_program(app_that_raises(CommandError("Do this instead.")), "program")

    assert exited.value.code == 1
    assert capsys.readouterr().err == "\nDo this instead.\n"


def test_stopped_command_prints_it_and_succeeds(capsys: pytest.CaptureFixture[str]) -> None:
    run_program(app_that_raises(Stopped(signal.SIGINT)), "program")

    assert capsys.readouterr().out == "\nStopped.\n"
