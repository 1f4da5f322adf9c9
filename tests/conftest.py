"""The deployed stack, for every test that wants one: each process of pytest starts it once, on free ports."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from command_line.environment import use_local_aws_settings
from command_line.project import PROJECT, STATE
from harness.dynamodb_local import missing_programs
from local.stack import Stack, running_stack
from tests.support import release_before
from tests.support.chromium import PROGRAMS, chromium

use_local_aws_settings()

DYNAMODB_LOCAL = STATE / "dynamodb-local"
ENGINE_TESTS = Path(__file__).parent / "engine"
BROWSER_TESTS = Path(__file__).parent / "browser"
UPDATE_TESTS = Path(__file__).parent / "end_to_end" / "test_update_in_place.py"


@cache
def left_out() -> dict[Path, str]:
    """Tests that are left out, and why: where this machine lacks what they need.

    With `CI` set they run and fail instead, except those of the browser, which CI need not have.
    """
    reasons = {}
    if not os.environ.get("CI"):
        if missing := missing_programs(DYNAMODB_LOCAL):
            reasons[ENGINE_TESTS] = f"(races, crashes, faults). DynamoDB Local needs {' and '.join(missing)}."
        if not release_before.is_available():
            reasons[UPDATE_TESTS] = (
                "(an update of the release before). It needs the git history: neither a source archive nor a shallow "
                "clone has it."
            )
    if not chromium():
        reasons[BROWSER_TESTS] = f"(the checkout console). They need one of {', '.join(PROGRAMS)}."
    return reasons


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if collection_path in left_out() else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for tests, reason in left_out().items():
        terminalreporter.write_line(f"LEFT OUT: {tests.relative_to(PROJECT)} {reason}", yellow=True, bold=True)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole of `template.yaml` as `make run` has it, with a state directory of its own and on free ports.

    The functions may do only what the template's policies say: a permission that is missing fails a test here.
    """
    with running_stack(state=tmp_path_factory.mktemp("stack"), enforce_policies=True) as running:
        yield running
