"""The deployed stack, for every test that wants one: each process of pytest starts it once, on free ports."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.dynamodb_local import missing_programs
from local.stack import STATE, Stack, running_stack

DYNAMODB_LOCAL = STATE / "dynamodb-local"
ENGINE_TESTS = Path(__file__).parent / "engine"


def left_out() -> str | None:
    """Why the engine tests are left out, where a person has no Java. On CI they are not: there it is an error."""
    missing = missing_programs(DYNAMODB_LOCAL)
    if not missing or os.environ.get("CI"):
        return None
    return f"LEFT OUT: tests/engine (races, crashes, faults). DynamoDB Local needs {' and '.join(missing)}."


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if collection_path == ENGINE_TESTS and left_out() else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if reason := left_out():
        terminalreporter.write_line(reason, yellow=True, bold=True)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole of `template.yaml` as `make run` has it, with a state directory of its own and on free ports.

    The functions may do only what the template's policies say: a permission that is missing fails a test here.
    """
    with running_stack(state=tmp_path_factory.mktemp("stack"), enforce_policies=True) as running:
        yield running
