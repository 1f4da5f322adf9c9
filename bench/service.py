"""The functions, called in this process as by Lambda, with tables on DynamoDB Local."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from bench.options import Options
from command_line.environment import AWS_SETTINGS
from command_line.project import PROJECT, STATE
from harness.dynamodb_local import client_of, install, running_dynamodb_local
from harness.functions import Context, load_function
from harness.tables import create_tables, recreate_tables
from order_payments.domain.orders import Order, OrderLine
from order_payments.runtime.clock import utc_now
from order_payments.runtime.settings import OrderSettings
from order_payments.storage.dynamodb import dynamodb_client, to_wire
from order_payments.storage.order_records import order_to_item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import WriteRequestTypeDef

ORDERS, PRODUCTS, DUMMY_STRIPE = "OrdersTable", "ProductsTable", "DummyStripeTable"
TABLES = {"ORDERS_TABLE": ORDERS, "PRODUCTS_TABLE": PRODUCTS, "DUMMY_STRIPE_TABLE": DUMMY_STRIPE}
BUYER = "alice"
UNIT_PRICE = 4599
VALID_FOR = OrderSettings.from_environment({}).valid_for
AMPLE_STOCK = 1_000_000
"""Stock of each product, so large that sales change neither its number of digits nor the size of the item."""

_BATCH = 25


@dataclass(frozen=True, slots=True)
class Function:
    module: ModuleType
    client: "DynamoDBClient"


@dataclass(frozen=True)
class Service:
    """The functions, and a separate client for their tables, whose names begin with `prefix`."""

    endpoint: str
    client: "DynamoDBClient"
    prefix: str = ""

    def with_prefix(self, prefix: str) -> "Service":
        """Return a service on the same engine with new tables."""
        create_tables(self.client, prefix=prefix)
        return replace(self, prefix=prefix)

    @property
    def orders_table(self) -> str:
        return self.prefix + ORDERS

    def function(self, name: str) -> Function:
        """Load the function in `functions/NAME` again."""
        clients: list[DynamoDBClient] = []

        def make_client() -> "DynamoDBClient":
            clients.append(dynamodb_client())
            return clients[-1]

        tables = {variable: self.prefix + table for variable, table in TABLES.items()}
        with patch.dict(os.environ, tables), patch("order_payments.storage.dynamodb.dynamodb_client", make_client):
            module = load_function(name)
        (client,) = clients
        return Function(module, client)

    @cached_property
    def _events(self) -> dict[str, str]:
        return {path.stem: path.read_text() for path in (PROJECT / "events").glob("*.json")}

    def event(self, name: str, **path_parameters: str) -> dict[str, Any]:
        """Return the API Gateway event in `events/NAME.json`, with these path parameters."""
        event: dict[str, Any] = json.loads(self._events[name])
        for parameter, value in path_parameters.items():
            event = json.loads(json.dumps(event).replace(event["pathParameters"][parameter], value))
        return event

    def put_products(self, product_ids: Sequence[str], *, stock: int = 9 * AMPLE_STOCK) -> None:
        """Write products, by default with stock that does not run out."""
        for product_id in product_ids:
            item = {
                "productId": product_id,
                "name": "Green tea",
                "unitPrice": UNIT_PRICE,
                "currency": "usd",
                "stock": stock,
                "available": stock,
            }
            self.client.put_item(TableName=self.prefix + PRODUCTS, Item=to_wire(item))

    def place_orders(self, number: int, product_ids: Sequence[str]) -> list[Order]:
        """Write new orders without the API."""
        orders = new_orders(number, product_ids)
        for start in range(0, number, _BATCH):
            puts: list[WriteRequestTypeDef] = [
                {"PutRequest": {"Item": to_wire(order_to_item(order))}} for order in orders[start : start + _BATCH]
            ]
            self.client.batch_write_item(RequestItems={self.orders_table: puts})
        return orders


def new_orders(number: int, product_ids: Sequence[str]) -> list[Order]:
    """Return orders of one product each, taking the products in turn."""
    lines = [OrderLine(product_ids[place % len(product_ids)], "Green tea", 2, UNIT_PRICE) for place in range(number)]
    request_id = "6f0c2f3e-9a41-4d9c-8b52-000000000001"
    now = utc_now()
    return [Order.place(BUYER, [line], "usd", now, expires_at=now + VALID_FOR, request_id=request_id) for line in lines]


@contextmanager
def running_service(options: Options) -> Iterator[Service]:
    """Run the service within the block. The functions log to a file, as they log to a pipe on Lambda."""
    home = install(STATE / "dynamodb-local")
    with running_dynamodb_local(home, options.scratch) as endpoint, redirect_stdout(options.scratch / "functions.log"):
        os.environ.update(environment(endpoint))
        client = client_of(endpoint)
        recreate_tables(client)
        yield Service(endpoint, client)


def environment(endpoint: str) -> Mapping[str, str]:
    """Return the environment variables that the template and Lambda set."""
    parameters: dict[str, str] = json.loads((PROJECT / "env.local.json").read_text())["Parameters"]
    return {
        **parameters,
        **AWS_SETTINGS,
        "AWS_ENDPOINT_URL_DYNAMODB": endpoint,
        **TABLES,
        "POWERTOOLS_SERVICE_NAME": "order-payments",
        "LOG_LEVEL": "INFO",
    }


def call(function: Function, event: Mapping[str, Any], *, expected: int) -> dict[str, Any]:
    """Call a function. Raises `RuntimeError` for another status than `expected`, since a failed call may be fast."""
    response: dict[str, Any] = function.module.handler(event, Context())
    status = response["statusCode"]
    if status != expected:
        raise RuntimeError(f"{event['httpMethod']} {event['path']} returned {status}: {response['body']}")
    return response


@contextmanager
def redirect_stdout(path: Path) -> Iterator[None]:
    """Redirect the process's standard output to a file within the block, also for writes that bypass `sys.stdout`."""
    sys.stdout.flush()
    original = os.dup(1)
    try:
        with path.open("ab") as file:
            os.dup2(file.fileno(), 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(original, 1)
        os.close(original)
