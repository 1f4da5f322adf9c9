"""Entries of the index `by-placed` for orders that earlier releases placed."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from botocore.exceptions import ClientError

from order_payments.storage.order_indexes import PlacedKey

_WRITERS = 8  # botocore keeps ten connections

_ADDED, _UNCHANGED, _CONFLICT = "added", "unchanged", "conflict"
_OUTCOMES = {"ConditionalCheckFailedException": _UNCHANGED, "TransactionConflictException": _CONFLICT}


def index_orders(client: Any, table_name: str, *, per_second: int, on_progress: Callable[[int], None]) -> int:
    """Add the missing orders to the index, at most `per_second` per second, and return their number.

    Only the keys of the index are added, and only to orders without them, so it can run beside payments, and again
    after an interruption. `on_progress` is called with the number so far.
    """
    outcomes: Counter[str] = Counter()
    with ThreadPoolExecutor(_WRITERS) as pool:
        while True:
            outcomes[_CONFLICT] = 0
            keys = _missing_keys(client, table_name)
            while batch := list(islice(keys, per_second)):
                second_ends = time.monotonic() + 1
                outcomes.update(pool.map(lambda key: _add(client, table_name, key), batch))
                on_progress(outcomes[_ADDED])
                time.sleep(max(0.0, second_ends - time.monotonic()))
            if not outcomes[_CONFLICT]:
                return outcomes[_ADDED]


def _missing_keys(client: Any, table_name: str) -> Iterator[PlacedKey]:
    """Yield the keys of the orders that the index lacks."""
    pages = client.get_paginator("scan").paginate(
        TableName=table_name,
        ConsistentRead=True,
        FilterExpression="attribute_not_exists(placedShard) AND attribute_type(createdAt, :text)",
        ProjectionExpression="orderId, createdAt",
        ExpressionAttributeValues={":text": {"S": "S"}},
    )
    for page in pages:
        for item in page["Items"]:
            yield PlacedKey(item["createdAt"]["S"], item["orderId"]["S"])


def _add(client: Any, table_name: str, key: PlacedKey) -> str:
    try:
        client.update_item(
            TableName=table_name,
            Key={"orderId": {"S": key.order_id}},
            UpdateExpression="SET placedShard = :placedShard, placedKey = :placedKey",
            ConditionExpression="attribute_exists(orderId) AND attribute_not_exists(placedShard)",
            ExpressionAttributeValues={f":{name}": {"S": value} for name, value in key.to_item().items()},
        )
    except ClientError as error:
        if outcome := _OUTCOMES.get(error.response["Error"]["Code"]):
            return outcome
        raise
    return _ADDED
