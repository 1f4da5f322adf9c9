"""Fixtures of the unit tests: the template's tables on moto, and the functions on top of them."""

import io
import logging
from collections.abc import Iterator
from datetime import timedelta

import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from order_payments.audit import check as audit
from order_payments.runtime.observability import logger
from tests.support.auditor import Auditor
from tests.support.function_shop import FunctionShop
from tests.support.moto import tables_on_moto


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment variables that the template gives to the functions."""
    FunctionShop.set_environment(monkeypatch)


@pytest.fixture
def dynamodb() -> Iterator[DynamoDBClient]:
    """Return a client of moto's DynamoDB with the template's tables."""
    with tables_on_moto() as client:
        yield client


@pytest.fixture
def shop(dynamodb: DynamoDBClient) -> FunctionShop:
    """Return a shop whose functions run on these tables."""
    return FunctionShop(dynamodb)


@pytest.fixture
def auditor(shop: FunctionShop, monkeypatch: pytest.MonkeyPatch) -> Auditor:  # noqa: ARG001 - audits this shop
    """Return an auditor of the shop without the grace period for fresh charges."""
    monkeypatch.setattr(audit, "CHARGE_GRACE", timedelta(seconds=-5))
    return Auditor()


@pytest.fixture
def log_output() -> Iterator[io.StringIO]:
    """Return a stream that receives the log."""
    stream = io.StringIO()
    handler = logger.registered_handler
    assert isinstance(handler, logging.StreamHandler)
    previous = handler.setStream(stream)
    yield stream
    handler.setStream(previous)
