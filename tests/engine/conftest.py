"""Fixtures of the engine tests: DynamoDB Local, which isolates transactions. moto does not."""

from collections.abc import Iterator

import pytest

from harness.dynamodb_local import client_of, install, running_dynamodb_local
from tests.conftest import DYNAMODB_LOCAL
from tests.support.world import World


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run DynamoDB Local and return its endpoint."""
    home = install(DYNAMODB_LOCAL)
    with running_dynamodb_local(home, tmp_path_factory.mktemp("engine")) as endpoint:
        yield endpoint


@pytest.fixture
def world(engine: str) -> World:
    """Return a world with empty tables on the engine."""
    return World.fresh(client_of(engine), client_of(engine))
