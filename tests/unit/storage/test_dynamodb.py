"""The DynamoDB client: responses of a proxy, time limits and numbers."""

from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from mypy_boto3_dynamodb import DynamoDBClient

from order_payments.domain.errors import Busy
from order_payments.domain.orders import Order, OrderLine
from order_payments.payments import TIME_TO_SETTLE_SECONDS
from order_payments.runtime.clock import Deadline, utc_now
from order_payments.runtime.retry_budgets import SETTLE_BUDGET_SECONDS
from order_payments.storage.dynamodb import (
    DYNAMODB_CALL_SECONDS,
    WriteOutcomeUnknown,
    dynamodb_client,
    from_wire,
    to_wire,
    write_transaction,
)
from order_payments.storage.orders_table import OrdersTable
from order_payments.storage.products_table import ProductsTable
from tests.support.function_shop import FunctionShop


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[DynamoDBClient]:
    """Return a client whose requests get a web page with status 200 from a proxy."""
    FunctionShop.set_environment(monkeypatch)

    def respond(request: Any, **_: Any) -> AWSResponse:
        body = SimpleNamespace(stream=lambda *_, **__: iter([b"<html>Welcome</html>"]))
        return AWSResponse(request.url, 200, {"Content-Type": "text/html"}, body)

    client = dynamodb_client()
    client.meta.events.register("before-send.dynamodb", respond)
    yield client
    client.close()


def test_web_page_leaves_the_outcome_of_a_transaction_unknown(client: DynamoDBClient) -> None:
    with pytest.raises(WriteOutcomeUnknown):
        write_transaction(client, [ProductsTable(client, "products").hold("tea", 1)], deadline=Deadline.after(1))


def test_web_page_makes_reads_and_writes_of_an_order_busy(client: DynamoDBClient) -> None:
    orders = OrdersTable(client, "orders", ProductsTable(client, "products"))

    with pytest.raises(Busy):
        orders.get("ord_" + "0" * 32)
    with pytest.raises(Busy):
        orders.create(Order.place("alice", [OrderLine("tea", "Tea", 1, 450)], "usd", utc_now()))


def test_settle_time_is_enough_if_dynamodb_does_not_respond(client: DynamoDBClient) -> None:
    config = client.meta.config
    tries = config.retries["total_max_attempts"]

    # In botocore's standard mode the first pause is up to one second, and a second one would be up to two.
    assert tries == 2
    assert tries * (config.connect_timeout + config.read_timeout) + 1 <= DYNAMODB_CALL_SECONDS
    assert SETTLE_BUDGET_SECONDS + 2 * DYNAMODB_CALL_SECONDS <= TIME_TO_SETTLE_SECONDS


@pytest.mark.parametrize("text", ["1" + 100 * "0", "1E+100", "0.1", "12345678901234567890123456789012345678"])
def test_every_dynamodb_number_is_read_and_written_unchanged(text: str) -> None:
    read = from_wire({"n": {"N": text}})["n"]

    assert read == Decimal(text)
    assert Decimal(to_wire({"n": read})["n"]["N"]) == read
