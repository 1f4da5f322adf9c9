"""The deployed stack of a test process, and the order in which the tests run."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from command_line.environment import use_local_aws_settings
from command_line.project import PROJECT, STATE
from harness.dynamodb_local import find_missing_programs
from local.stack import Stack, start_stack
from tests.support import previous_release
from tests.support.chromium import PROGRAMS, find_chromium

use_local_aws_settings()

DYNAMODB_LOCAL = STATE / "dynamodb-local"
ENGINE_TESTS = Path(__file__).parent / "engine"
BROWSER_TESTS = Path(__file__).parent / "browser"
UPDATE_TESTS = Path(__file__).parent / "end_to_end" / "test_update_in_place.py"
PRODUCTION_TESTS = Path(__file__).parent / "end_to_end" / "test_production.py"
CONTRACT_TESTS = Path(__file__).parent / "contract"
LONGEST_FIRST = (UPDATE_TESTS, PRODUCTION_TESTS, ENGINE_TESTS, BROWSER_TESTS, UPDATE_TESTS.parent, CONTRACT_TESTS)
"""The slowest tests first: test processes take one file at a time, so a long last file would leave the others idle."""


@cache
def skip_reasons() -> dict[Path, str]:
    """Return the tests that this machine cannot run, each with the reason.

    With `CI` set, these tests run and fail instead, except the browser tests.
    """
    reasons = {}
    if not os.environ.get("CI"):
        if missing := find_missing_programs(DYNAMODB_LOCAL):
            reasons[ENGINE_TESTS] = f"(races, crashes, faults). DynamoDB Local needs {' and '.join(missing)}."
        if not previous_release.is_available():
            reasons[UPDATE_TESTS] = (
                "(an update from the previous release). It needs the git history, which a source archive and a shallow "
                "clone do not have."
            )
    if not find_chromium():
        reasons[BROWSER_TESTS] = f"(the checkout console). They need one of {', '.join(PROGRAMS)}."
    return reasons


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def position(item: pytest.Item) -> int:
        folders = [item.path, *item.path.parents]
        return next((rank for rank, path in enumerate(LONGEST_FIRST) if path in folders), len(LONGEST_FIRST))

    items.sort(key=position)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if collection_path in skip_reasons() else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for tests, reason in skip_reasons().items():
        terminalreporter.write_line(f"LEFT OUT: {tests.relative_to(PROJECT)} {reason}", yellow=True, bold=True)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Return this process's stack: as `make run` deploys it, but with the template's IAM permissions enforced.

    Test processes do not share a stack: some tests kill functions, and load in one process delays another.
    """
    with start_stack(state=tmp_path_factory.mktemp("stack"), enforce_policies=True) as running:
        yield running
