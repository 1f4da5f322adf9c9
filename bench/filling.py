"""Fills the orders table with paid orders, without the service, and without botocore for speed."""

import http.client
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from urllib.parse import urlsplit
from uuid import UUID

from bench.service import UNIT_PRICE, VALID_FOR, Service
from order_payments.domain.orders import Order, OrderLine, OrderStatus, PaymentAttempt
from order_payments.runtime.clock import rfc3339
from order_payments.storage.dynamodb import to_wire
from order_payments.storage.order_indexes import PlacedKey
from order_payments.storage.order_records import order_to_item

ORDERS_PER_BUYER = 100
_BATCH = 25
_WRITERS = 2
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)
# DynamoDB Local checks only the format of a signature.
_HEADERS = {
    "Content-Type": "application/x-amz-json-1.0",
    "X-Amz-Target": "DynamoDB_20120810.BatchWriteItem",
    "X-Amz-Date": "20260101T000000Z",
    "Authorization": "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request,"
    " SignedHeaders=host, Signature=none",
}


@dataclass(frozen=True, slots=True)
class PaidOrder:
    """One of many paid orders, derived from its number."""

    number: int

    @property
    def order_id(self) -> str:
        """Order ID. IDs of consecutive numbers are spread like random ones."""
        return f"ord_{UUID(int=self.number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128).hex}"

    @property
    def buyer(self) -> str:
        """Buyer ID. Consecutive orders belong to the same buyer."""
        return f"buyer-{self.number // ORDERS_PER_BUYER:08}"

    @property
    def placed_at(self) -> datetime:
        """Time at which the order was placed and paid."""
        return _FIRST + timedelta(seconds=self.number)

    @property
    def unique_texts(self) -> tuple[str, ...]:
        """Values that differ between orders."""
        placed_at, expires_at = rfc3339(self.placed_at), rfc3339(self.placed_at + VALID_FOR)
        shard = PlacedKey(placed_at, self.order_id).to_item()["placedShard"]
        ids = self.order_id, self.buyer, f"att_{self.number:032x}", f"pi_3{self.number:024}"
        return *ids, expires_at, placed_at, shard

    def order(self, product_id: str) -> Order:
        order_id, buyer, attempt_id, intent_id, *_ = self.unique_texts
        return Order(
            order_id=order_id,
            buyer_id=buyer,
            status=OrderStatus.CONFIRMED,
            total_amount=2 * UNIT_PRICE,
            currency="usd",
            lines=(OrderLine(product_id, "Green tea", 2, UNIT_PRICE),),
            created_at=self.placed_at,
            updated_at=self.placed_at,
            expires_at=self.placed_at + VALID_FOR,
            attempt=PaymentAttempt(attempt_id, intent_id, "pm_card_visa", self.placed_at),
            request_id="6f0c2f3e-9a41-4d9c-8b52-000000000001",
        )


def generate_items(numbers: Iterable[int], product_id: str) -> Iterator[str]:
    """Yield the orders' items as JSON, by replacing values in the first one, which takes a tenth of the time.

    The later time is replaced first: a later order is placed at the time at which the first one expires.
    """
    pattern = PaidOrder(0)
    text = json.dumps(to_wire(order_to_item(pattern.order(product_id))))
    for number in numbers:
        item = text
        for old, new in zip(pattern.unique_texts, PaidOrder(number).unique_texts, strict=True):
            item = item.replace(old, new)
        yield item


def fill(service: Service, number: int, product_id: str) -> None:
    with ThreadPoolExecutor(_WRITERS) as pool:
        shares = [range(first, number, _WRITERS) for first in range(_WRITERS)]
        for written in [pool.submit(_write, service, share, product_id) for share in shares]:
            written.result()


def _write(service: Service, numbers: range, product_id: str) -> None:
    items = generate_items(numbers, product_id)
    connection = http.client.HTTPConnection(urlsplit(service.endpoint).netloc)
    try:
        while batch := list(islice(items, _BATCH)):
            puts = ",".join(f'{{"PutRequest":{{"Item":{item}}}}}' for item in batch)
            body = f'{{"RequestItems":{{"{service.orders_table}":[{puts}]}}}}'
            connection.request("POST", "/", body, _HEADERS)
            response = connection.getresponse()
            result = json.load(response)
            if response.status != http.HTTPStatus.OK or result["UnprocessedItems"]:
                raise RuntimeError(f"orders could not be written: {result}")
    finally:
        connection.close()
