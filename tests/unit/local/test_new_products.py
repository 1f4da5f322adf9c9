"""New products of a large catalogue are written in batches, and the rest is left to the API."""

from collections.abc import Iterator

import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from local.shop.catalogue import Row
from local.shop.new_products import MINIMUM_ROWS, write_new_products
from order_payments.storage.products_table import ProductsTable
from tests.support.moto import tables_on_moto

TABLES = {"orders": "OrdersTable", "products": "ProductsTable"}


@pytest.fixture
def dynamodb() -> Iterator[DynamoDBClient]:
    with tables_on_moto() as client:
        yield client


def row(number: int, **values: object) -> Row:
    return Row(
        number,
        {"productId": f"tea-{number}", "name": "Tea", "unitPrice": 450, "currency": "usd", "stock": 7, **values},
    )


CATALOGUE = [row(number) for number in range(MINIMUM_ROWS)]


def test_new_products_are_written_as_the_api_would(dynamodb: DynamoDBClient) -> None:
    done: list[None] = []

    others = write_new_products(dynamodb, TABLES, CATALOGUE, lambda: done.append(None))

    assert others == []
    assert len(done) == MINIMUM_ROWS
    written = ProductsTable(dynamodb, "ProductsTable").get("tea-42")
    assert (written.name, written.unit_price, written.currency) == ("Tea", 450, "usd")
    assert (written.stock, written.available) == (7, 7)


def test_existing_products_are_left_to_the_api(dynamodb: DynamoDBClient) -> None:
    products = ProductsTable(dynamodb, "ProductsTable")
    before = products.put("tea-1", name="Old", unit_price=1, currency="eur", stock=3)

    others = write_new_products(dynamodb, TABLES, CATALOGUE, lambda: None)

    assert others == [CATALOGUE[1]]
    assert products.get("tea-1") == before


@pytest.mark.parametrize(
    "bad",
    [
        {"name": " "},
        {"name": "\ud800"},
        {"unitPrice": 0},
        {"unitPrice": True},
        {"unitPrice": "450"},
        {"currency": "USD"},
        {"stock": -1},
        {"stock": None},
        {"productId": "a/b"},
        {"productId": 17},
        {"colour": "red"},
    ],
    ids=str,
)
def test_rows_that_the_api_would_refuse_are_left_to_it(dynamodb: DynamoDBClient, bad: dict[str, object]) -> None:
    refused = row(MINIMUM_ROWS, **bad)

    assert write_new_products(dynamodb, TABLES, [*CATALOGUE, refused], lambda: None) == [refused]


def test_everything_is_left_to_the_api_while_payments_are_in_flight(dynamodb: DynamoDBClient) -> None:
    entry = {"orderId": "ord_1", "unsettledShard": "unsettled-0", "unsettledSince": "2026-01-01T00:00:00.000Z"}
    dynamodb.put_item(TableName="OrdersTable", Item={name: {"S": value} for name, value in entry.items()})

    assert write_new_products(dynamodb, TABLES, CATALOGUE, lambda: None) == CATALOGUE


def test_small_catalogue_is_left_to_the_api(dynamodb: DynamoDBClient) -> None:
    assert write_new_products(dynamodb, TABLES, CATALOGUE[1:], lambda: None) == CATALOGUE[1:]
