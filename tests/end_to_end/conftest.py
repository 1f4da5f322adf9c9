"""Fixtures of the end-to-end tests: the HTTP API, tables and logs of the deployed stack."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import pytest

from local.stack import Stack
from local.tokens import TOKEN_VALIDITY
from tests.support.http_shop import HttpShop

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class Mint(Protocol):
    """Creates tokens that the stack's issuer signs."""

    def __call__(
        self, sub: str, roles: Iterable[str], *, expires_in: timedelta = TOKEN_VALIDITY, **claims: object
    ) -> str:
        """Return a token. `claims` adds or replaces claims, and removes those that are `None`."""


@pytest.fixture(scope="session")
def api(stack: Stack) -> Iterator[httpx.Client]:
    """Return a client of the API: `api.get("/products/p1", headers=...)`. It follows no redirects."""
    with stack.http() as client:
        yield client


@pytest.fixture(scope="module")
def shop(stack: Stack) -> Iterator[HttpShop]:
    """Return a shop on the module's stack, which is the shared one unless the module overrides it."""
    with closing(HttpShop(stack)) as shop:
        yield shop


@pytest.fixture(scope="session")
def tokens(stack: Stack) -> Mapping[str, str]:
    """Return the tokens of `stack.json`: buyer, buyer2, seller and admin."""
    return stack.tokens


@pytest.fixture(scope="session")
def mint(stack: Stack) -> Mint:
    """Return a token factory: `mint("alice", ["buyer"], expires_in=timedelta(seconds=-60), aud="another")`."""
    return stack.token


@pytest.fixture(scope="session")
def dynamodb(stack: Stack) -> "Iterator[DynamoDBClient]":
    """Return a DynamoDB client. The tables are `stack.deployment.orders_table` and `.products_table`."""
    client = stack.client("dynamodb")
    yield client
    client.close()


@pytest.fixture(scope="session")
def function_logs(stack: Stack) -> Callable[[], str]:
    """Return a reader of the functions' logs of this run."""
    return stack.function_logs


@pytest.fixture(scope="session")
def everything_logged(stack: Stack) -> Callable[[], str]:
    """Return a reader of the functions' logs and all log files of the stack, such as the emulator's and SAM's."""

    def read() -> str:
        files: list[Any] = sorted((stack.state / "logs").iterdir())
        return "\n".join([stack.function_logs(), *(path.read_text(errors="replace") for path in files)])

    return read
