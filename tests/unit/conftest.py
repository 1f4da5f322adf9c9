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
    """The environment that the template gives to the functions."""
    FunctionShop.set_environment(monkeypatch)


@pytest.fixture
def dynamodb() -> Iterator[DynamoDBClient]:
    """A client of moto's DynamoDB, with the template's tables."""
    with tables_on_moto() as client:
        yield client


@pytest.fixture
def shop(dynamodb: DynamoDBClient) -> FunctionShop:
    """A shop whose functions run on these tables."""
    return FunctionShop(dynamodb)


@pytest.fixture
def auditor(shop: FunctionShop, monkeypatch: pytest.MonkeyPatch) -> Auditor:  # noqa: ARG001 - audits this shop
    """Who audits the shop and repairs it, and takes a charge for ripe as soon as it is there."""
    monkeypatch.setattr(audit, "CHARGE_GRACE", timedelta(seconds=-5))
    return Auditor()


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Return what is written to the log."""
    stream = io.StringIO()
    handler = logger.registered_handler
    assert isinstance(handler, logging.StreamHandler)
    before = handler.setStream(stream)
    yield stream
    handler.setStream(before)
