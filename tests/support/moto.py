"""AWS on moto, in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from typing import Any

import boto3
from moto import mock_aws
from moto.backends import get_backend
from moto.core.models import DEFAULT_ACCOUNT_ID, MockAWS
from mypy_boto3_dynamodb import DynamoDBClient

from command_line.environment import LOCAL_REGION
from harness.tables import create_tables


def aws_on_moto() -> MockAWS:
    """Return a context in which boto3 calls moto, with no resources.

    It keeps boto3's session. A new one per test would parse DynamoDB's service model again, for 0.15 s of CPU time.
    """
    return mock_aws(config={"core": {"reset_boto3_session": False}})


@contextmanager
def tables_on_moto() -> Iterator[DynamoDBClient]:
    """Yield a client of moto's DynamoDB, which has the template's tables, empty."""
    with aws_on_moto():
        empty_tables()
        yield boto3.client("dynamodb")


def empty_tables() -> None:
    """Replace moto's tables with empty ones. moto copies a whole table for each transaction, so full ones are slow."""
    _tables().update(deepcopy(_created_tables()))


@cache
def _created_tables() -> dict[str, Any]:
    """Create the template's tables once. Creating them takes moto ten times as long as copying them."""
    create_tables(boto3.client("dynamodb"))
    return deepcopy(_tables())


def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = get_backend("dynamodb")[DEFAULT_ACCOUNT_ID][LOCAL_REGION].tables
    return tables
