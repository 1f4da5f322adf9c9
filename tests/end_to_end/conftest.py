"""Fixtures of the end-to-end tests: HTTP on one side of the deployed stack, its tables and logs on the other."""

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
    """Makes tokens that the stack trusts, unless a claim says otherwise."""

    def __call__(
        self, sub: str, roles: Iterable[str], *, expires_in: timedelta = TOKEN_VALIDITY, **claims: object
    ) -> str:
        """A token. `claims` replaces or adds claims; one that is `None` is left out."""


@pytest.fixture(scope="session")
def api(stack: Stack) -> Iterator[httpx.Client]:
    """A client of the API at its short address: `api.get("/products/p1", headers=...)`. It follows no redirects."""
    with stack.http() as client:
        yield client


@pytest.fixture(scope="module")
def shop(stack: Stack) -> Iterator[HttpShop]:
    """The shop of a module's stack: the one that all share, or one of its own."""
    with closing(HttpShop(stack)) as shop:
        yield shop


@pytest.fixture(scope="session")
def tokens(stack: Stack) -> Mapping[str, str]:
    """The tokens of `stack.json`: buyer, buyer2, seller and admin."""
    return stack.tokens


@pytest.fixture(scope="session")
def mint(stack: Stack) -> Mint:
    """More tokens: `mint("alice", ["buyer"], expires_in=timedelta(seconds=-60), aud="another")`."""
    return stack.token


@pytest.fixture(scope="session")
def dynamodb(stack: Stack) -> "Iterator[DynamoDBClient]":
    """The tables past the API; their names are `stack.deployment.orders_table` and `.products_table`."""
    client = stack.client("dynamodb")
    yield client
    client.close()


@pytest.fixture(scope="session")
def function_logs(stack: Stack) -> Callable[[], str]:
    """All that the functions have logged in this run."""
    return stack.function_logs


@pytest.fixture(scope="session")
def everything_logged(stack: Stack) -> Callable[[], str]:
    """What the functions logged, and all else that the stack wrote to its log files: the emulator's, SAM's."""

    def read() -> str:
        files: list[Any] = sorted((stack.state / "logs").iterdir())
        return "\n".join([stack.function_logs(), *(path.read_text(errors="replace") for path in files)])

    return read
