"""The functions, called in this process as Lambda calls them, with tables of their own on DynamoDB Local."""

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
from order_payments.storage.dynamodb import dynamodb_client, to_wire
from order_payments.storage.order_records import order_to_item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import WriteRequestTypeDef

ORDERS, PRODUCTS, DUMMY_STRIPE = "OrdersTable", "ProductsTable", "DummyStripeTable"
TABLES = {"ORDERS_TABLE": ORDERS, "PRODUCTS_TABLE": PRODUCTS, "DUMMY_STRIPE_TABLE": DUMMY_STRIPE}
BUYER = "alice"
UNIT_PRICE = 4599
PLENTY = 1_000_000
"""Of each product: it keeps its number of digits whatever is sold here, and so the product its size."""

_BATCH = 25


@dataclass(frozen=True, slots=True)
class Function:
    module: ModuleType
    client: "DynamoDBClient"


@dataclass(frozen=True)
class Service:
    """The functions, and a client of their tables' engine that is not theirs. Its tables' names begin with `prefix`."""

    endpoint: str
    client: "DynamoDBClient"
    prefix: str = ""

    def beside(self, prefix: str) -> "Service":
        """Another service on the same engine, with tables of its own."""
        create_tables(self.client, prefix=prefix)
        return replace(self, prefix=prefix)

    @property
    def orders_table(self) -> str:
        return self.prefix + ORDERS

    def function(self, name: str) -> Function:
        """The function in `functions/NAME`, started anew."""
        made: list[DynamoDBClient] = []

        def make_client() -> "DynamoDBClient":
            made.append(dynamodb_client())
            return made[-1]

        tables = {variable: self.prefix + table for variable, table in TABLES.items()}
        with patch.dict(os.environ, tables), patch("order_payments.storage.dynamodb.dynamodb_client", make_client):
            module = load_function(name)
        (client,) = made
        return Function(module, client)

    @cached_property
    def _events(self) -> dict[str, str]:
        return {path.stem: path.read_text() for path in (PROJECT / "events").glob("*.json")}

    def event(self, name: str, **path_parameters: str) -> dict[str, Any]:
        """API Gateway's event of the request in `events/NAME.json`, about what the parameters of its path name."""
        event: dict[str, Any] = json.loads(self._events[name])
        for parameter, value in path_parameters.items():
            event = json.loads(json.dumps(event).replace(event["pathParameters"][parameter], value))
        return event

    def put_products(self, product_ids: Sequence[str], *, stock: int = 9 * PLENTY) -> None:
        """Put products up for sale, with stock that does not run out where nothing else is said."""
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
        """Place orders without the API, which is not what is measured by it."""
        orders = new_orders(number, product_ids)
        for start in range(0, number, _BATCH):
            puts: list[WriteRequestTypeDef] = [
                {"PutRequest": {"Item": to_wire(order_to_item(order))}} for order in orders[start : start + _BATCH]
            ]
            self.client.batch_write_item(RequestItems={self.orders_table: puts})
        return orders


def new_orders(number: int, product_ids: Sequence[str]) -> list[Order]:
    """Return orders of one product each, the products in turn."""
    lines = [OrderLine(product_ids[place % len(product_ids)], "Green tea", 2, UNIT_PRICE) for place in range(number)]
    request_id = "6f0c2f3e-9a41-4d9c-8b52-000000000001"
    return [Order.place(BUYER, [line], "usd", utc_now(), request_id=request_id) for line in lines]


@contextmanager
def running_service(options: Options) -> Iterator[Service]:
    """The service until the block is left. What the functions log goes to a file, as on Lambda it goes to a pipe."""
    home = install(STATE / "dynamodb-local")
    with running_dynamodb_local(home, options.scratch) as endpoint, output_to(options.scratch / "functions.log"):
        os.environ.update(environment(endpoint))
        client = client_of(endpoint)
        recreate_tables(client)
        yield Service(endpoint, client)


def environment(endpoint: str) -> Mapping[str, str]:
    """What the template and Lambda give the functions."""
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
    """Call a function, and make sure of its answer: what failed early would look fast."""
    answer: dict[str, Any] = function.module.handler(event, Context())
    if answer["statusCode"] != expected:
        raise RuntimeError(f"{event['httpMethod']} {event['path']} answered {answer['statusCode']}: {answer['body']}")
    return answer


@contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Send what is written to standard output, by whatever way, to a file."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with path.open("ab") as file:
            os.dup2(file.fileno(), 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
