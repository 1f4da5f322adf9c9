"""The contract's tests run twice: on the functions alone, over moto, and over HTTP on the whole deployed stack."""

from collections.abc import Iterator
from contextlib import closing

import boto3
import pytest
from moto import mock_aws

from harness.tables import recreate_tables
from local.stack import Stack
from tests.support.function_shop import FunctionShop
from tests.support.http_shop import HttpShop
from tests.support.shop import Shop


@pytest.fixture(scope="module")
def functions() -> Iterator[Shop]:
    """The functions over moto."""
    with pytest.MonkeyPatch.context() as monkeypatch, mock_aws():
        FunctionShop.set_environment(monkeypatch)
        yield FunctionShop(boto3.client("dynamodb"))


@pytest.fixture(scope="session")
def end_to_end(stack: Stack) -> Iterator[Shop]:
    """The whole stack, over HTTP."""
    with closing(HttpShop(stack)) as shop:
        yield shop


@pytest.fixture(params=["functions", "end_to_end"])
def shop(request: pytest.FixtureRequest) -> Shop:
    """A shop to tell the scenario in."""
    shop: Shop = request.getfixturevalue(request.param)
    if request.param == "functions":
        # moto copies a whole table for each transaction, so that full ones make it slow.
        recreate_tables(shop.dynamodb)
    return shop
