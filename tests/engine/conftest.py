"""Fixtures of the engine tests: DynamoDB Local, which isolates transactions as moto does not."""

import os
from collections.abc import Iterator

import pytest

from local.dynamodb_local import client_of, install, missing_programs, running_dynamodb_local
from local.stack import STATE
from tests.support.world import World

LEFT_OUT = f"The engine tests are left out: DynamoDB Local needs {' and '.join(missing_programs())}."


def pytest_ignore_collect() -> bool | None:
    """Leave the folder out where a person has no Java; on CI it is an error that the fixture reports."""
    return True if missing_programs() and not os.environ.get("CI") else None


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a DynamoDB Local of our own."""
    home = install(STATE / "dynamodb-local")
    with running_dynamodb_local(home, tmp_path_factory.mktemp("engine")) as endpoint:
        yield endpoint


@pytest.fixture
def world(engine: str) -> World:
    """A fresh world on the engine."""
    return World.fresh(client_of(engine), client_of(engine))
