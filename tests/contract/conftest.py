"""The contract's tests run twice: on the functions alone, over moto, and over HTTP on the whole deployed stack."""

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from tests.support.function_shop import FunctionShop
from tests.support.shop import Shop
from tests.support.template import create_tables


@pytest.fixture(scope="session")
def functions() -> Iterator[Shop]:
    """The functions over moto."""
    with pytest.MonkeyPatch.context() as monkeypatch, mock_aws():
        FunctionShop.set_environment(monkeypatch)
        dynamodb = boto3.client("dynamodb")
        create_tables(dynamodb)
        yield FunctionShop(dynamodb)


@pytest.fixture(params=["functions"])
def shop(request: pytest.FixtureRequest) -> Shop:
    """A shop to tell the scenario in."""
    shop: Shop = request.getfixturevalue(request.param)
    return shop
