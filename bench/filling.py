"""Orders by the million, as they are once they are paid: written past the service, and past botocore for speed."""

import http.client
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from urllib.parse import urlsplit
from uuid import UUID

from bench.service import UNIT_PRICE, Service
from order_payments.domain.orders import Order, OrderLine, OrderStatus, PaymentAttempt
from order_payments.runtime.clock import rfc3339
from order_payments.storage.dynamodb import to_wire
from order_payments.storage.order_records import order_to_item

ORDERS_OF_A_BUYER = 100
_BATCH = 25
_WRITERS = 2
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)
# DynamoDB Local looks at the form of a signature alone.
_HEADERS = {
    "Content-Type": "application/x-amz-json-1.0",
    "X-Amz-Target": "DynamoDB_20120810.BatchWriteItem",
    "X-Amz-Date": "20260101T000000Z",
    "Authorization": "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request,"
    " SignedHeaders=host, Signature=none",
}


@dataclass(frozen=True, slots=True)
class PaidOrder:
    """One of many orders, told by its number."""

    number: int

    @property
    def order_id(self) -> str:
        """Its id; consecutive numbers are far from each other, as ids are."""
        return f"ord_{UUID(int=self.number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128).hex}"

    @property
    def buyer(self) -> str:
        """Whose it is: so many in a row are the same buyer's."""
        return f"buyer-{self.number // ORDERS_OF_A_BUYER:08}"

    @property
    def placed_at(self) -> datetime:
        """When it was placed, and paid at once."""
        return _FIRST + timedelta(seconds=self.number)

    @property
    def own_texts(self) -> tuple[str, ...]:
        """All that is in it and in no other, or in none but its buyer's."""
        return self.order_id, self.buyer, f"att_{self.number:032x}", f"pi_3{self.number:024}", rfc3339(self.placed_at)

    def order(self, product_id: str) -> Order:
        order_id, buyer, attempt_id, intent_id, _ = self.own_texts
        return Order(
            order_id=order_id,
            buyer_id=buyer,
            status=OrderStatus.CONFIRMED,
            total_amount=2 * UNIT_PRICE,
            currency="usd",
            lines=(OrderLine(product_id, "Green tea", 2, UNIT_PRICE),),
            created_at=self.placed_at,
            updated_at=self.placed_at,
            attempt=PaymentAttempt(attempt_id, intent_id, "pm_card_visa", self.placed_at),
            request_id="6f0c2f3e-9a41-4d9c-8b52-000000000001",
        )


def item_texts(numbers: Iterable[int], product_id: str) -> Iterator[str]:
    """The orders' items as JSON, each made of the first one's, which takes a tenth of the time."""
    pattern = PaidOrder(0)
    text = json.dumps(to_wire(order_to_item(pattern.order(product_id))))
    for number in numbers:
        item = text
        for old, new in zip(pattern.own_texts, PaidOrder(number).own_texts, strict=True):
            item = item.replace(old, new)
        yield item


def fill(service: Service, number: int, product_id: str) -> None:
    with ThreadPoolExecutor(_WRITERS) as pool:
        shares = [range(first, number, _WRITERS) for first in range(_WRITERS)]
        for written in [pool.submit(_write, service, share, product_id) for share in shares]:
            written.result()


def _write(service: Service, numbers: range, product_id: str) -> None:
    items = item_texts(numbers, product_id)
    connection = http.client.HTTPConnection(urlsplit(service.endpoint).netloc)
    try:
        while batch := list(islice(items, _BATCH)):
            puts = ",".join(f'{{"PutRequest":{{"Item":{item}}}}}' for item in batch)
            body = f'{{"RequestItems":{{"{service.orders_table}":[{puts}]}}}}'
            connection.request("POST", "/", body, _HEADERS)
            answer = connection.getresponse()
            told = json.load(answer)
            if answer.status != http.HTTPStatus.OK or told["UnprocessedItems"]:
                raise RuntimeError(f"orders could not be written: {told}")
    finally:
        connection.close()
