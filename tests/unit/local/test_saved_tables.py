"""The tables of `make run PERSIST=1`: what the next emulator finds in them."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from ministack.services import dynamodb
from ministack.services.cloudformation import provisioners

from local.emulator.saved_tables import SavedTables

Create = Callable[[SavedTables, str], str]
ORDER = {"orderId": {"S": "ord_1"}, "buyer": {"S": "alice"}, "total": {"N": "4599"}}
PROPERTIES = {
    "KeySchema": [{"AttributeName": "orderId", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("orderId", "buyer")],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by-buyer",
            "KeySchema": [{"AttributeName": "buyer", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
        }
    ],
    "StreamSpecification": {"StreamViewType": "NEW_AND_OLD_IMAGES"},
}


@pytest.fixture
def create(monkeypatch: pytest.MonkeyPatch) -> Create:
    """Return a function that creates a table of another stack as CloudFormation does, and returns its name."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]
    original, stacks = handlers["create"], count()

    def create(tables: SavedTables, logical_id: str) -> str:
        monkeypatch.setitem(handlers, "create", original)
        tables.restore_when_created()
        name: str = handlers["create"](logical_id, PROPERTIES, f"stack-{next(stacks)}")[0]
        return name

    return create


def items(table: str) -> Any:
    return dynamodb._tables[table]["items"]


def test_next_emulator_has_the_saved_items_in_the_table_and_its_index(create: Create, tmp_path: Path) -> None:
    first = SavedTables(tmp_path / "tables.json")
    name = create(first, "OrdersTable")
    dynamodb._put_item({"TableName": name, "Item": ORDER})
    first.save()

    restored = create(SavedTables(tmp_path / "tables.json"), "OrdersTable")

    found = dynamodb._query(
        {
            "TableName": restored,
            "IndexName": "by-buyer",
            "KeyConditionExpression": "buyer = :buyer",
            "ExpressionAttributeValues": {":buyer": {"S": "alice"}},
        }
    )
    assert b"ord_1" in found[2]
    assert dynamodb._live_stream_records(restored) == []


def test_deleted_item_is_not_restored(create: Create, tmp_path: Path) -> None:
    file = tmp_path / "tables.json"
    for request in (dynamodb._put_item, dynamodb._delete_item):
        tables = SavedTables(file)
        table = create(tables, "OrdersTable")
        request({"TableName": table, "Item": ORDER, "Key": {"orderId": ORDER["orderId"]}})
        tables.save()

    assert not items(create(SavedTables(file), "OrdersTable"))


def test_interrupted_start_keeps_the_saved_items(create: Create, tmp_path: Path) -> None:
    file = tmp_path / "tables.json"
    first = SavedTables(file)
    dynamodb._put_item({"TableName": create(first, "OrdersTable"), "Item": ORDER})
    first.save()

    SavedTables(file).save()

    assert "ord_1" in items(create(SavedTables(file), "OrdersTable"))
