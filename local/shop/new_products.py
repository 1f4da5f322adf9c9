"""New products of a catalogue, written to the running stack's table in batches.

The API takes one product at a time, which is slow for thousands of them. It remains responsible for products that
exist, and for rows that it would refuse.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from local.shop.catalogue import COLUMNS, Row
from order_payments.domain.products import Product, faults_in_offer, faults_in_stock, is_product_id
from order_payments.storage.dynamodb import from_wire, to_wire
from order_payments.storage.products_table import product_to_item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MINIMUM_ROWS = 100
"""Fewer rows are loaded by the API alone."""
_BATCH_ITEMS = 25  # the limit of BatchWriteItem
_PARALLEL_BATCHES = 4


def write_new_products(
    dynamodb: "DynamoDBClient", tables: Mapping[str, str], rows: Sequence[Row], on_row_done: Callable[[], None]
) -> list[Row]:
    """Write the valid rows of products that do not exist. Return the other rows, which the API must load.

    While payments are in flight, all rows are returned: a deleted product may still have held units, which the API
    counts.
    """
    if len(rows) < MINIMUM_ROWS or _has_payments_in_flight(dynamodb, tables["orders"]):
        return list(rows)
    existing = _list_product_ids(dynamodb, tables["products"])
    new: list[Product] = []
    others: list[Row] = []
    for row in rows:
        product = _valid_product(row)
        if product is None or product.product_id in existing:
            others.append(row)
        else:
            new.append(product)

    def write(batch: Sequence[Product]) -> None:
        wanted: Any = {tables["products"]: [{"PutRequest": {"Item": to_wire(product_to_item(each))}} for each in batch]}
        while wanted:
            wanted = dynamodb.batch_write_item(RequestItems=wanted)["UnprocessedItems"]
        for _ in batch:
            on_row_done()

    batches = [new[start : start + _BATCH_ITEMS] for start in range(0, len(new), _BATCH_ITEMS)]
    with ThreadPoolExecutor(_PARALLEL_BATCHES) as pool:
        try:
            for _ in pool.map(write, batches):
                pass
        except BaseException:
            # Ctrl-C: send no further batches.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return others


def _has_payments_in_flight(dynamodb: "DynamoDBClient", orders_table: str) -> bool:
    return bool(dynamodb.scan(TableName=orders_table, IndexName="unsettled", Limit=1)["Items"])


def _list_product_ids(dynamodb: "DynamoDBClient", products_table: str) -> set[str]:
    pages = dynamodb.get_paginator("scan").paginate(
        TableName=products_table, ProjectionExpression="productId", ConsistentRead=True
    )
    return {from_wire(item)["productId"] for page in pages for item in page["Items"]}


def _valid_product(row: Row) -> Product | None:
    """Return the product of a row that the API would accept as new, or None."""
    if row.fault or set(row.values) != set(COLUMNS):
        return None
    product_id, name, unit_price, currency, stock = (row.values[column] for column in COLUMNS)
    if not all(isinstance(text, str) for text in (product_id, name, currency)) or not is_product_id(product_id):
        return None
    if type(unit_price) is not int or type(stock) is not int or not name.isprintable():
        return None
    if any(faults_in_offer(name, unit_price, currency)) or any(faults_in_stock(stock, stock)):
        return None
    return Product(product_id, name, unit_price, currency, stock, stock)
