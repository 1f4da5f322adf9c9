"""How long a function that has started takes for a request, beside what its requests to DynamoDB alone take."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import boto3

from bench.figures import Bars, Family, Figure
from bench.options import Options
from bench.recording import Call, about, recording
from bench.service import ORDERS, Function, Service, call, running_service

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PRODUCTS = [f"tea-{number}" for number in range(8)]
PAYMENT_LIMIT = 1.25
STATUS_LIMIT = 1.30

_PAYMENTS, _READS, _QUICK_TURNS = 1000, 3000, 60
_WARM_UP = 100
"""Turns that are not counted: Java compiles what it runs often."""


@dataclass(slots=True)
class Turns:
    """Seconds that the function and bare boto3 took, turn by turn."""

    function: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)

    def take(self, function: Callable[[], object], bare: Callable[[], object]) -> None:
        """Time both; each is the first one in every second turn, as what comes first may pay for what was before."""
        ways = [(self.function, function), (self.bare, bare)]
        for times, way in ways if len(self.bare) % 2 else reversed(ways):
            started = time.perf_counter()
            way()
            times.append(time.perf_counter() - started)

    def counted(self) -> "Turns":
        return Turns(self.function[_WARM_UP:], self.bare[_WARM_UP:])


def measure(options: Options) -> Family:
    paid, read = (_QUICK_TURNS, _QUICK_TURNS) if options.quick else (_PAYMENTS, _READS)
    with running_service(options) as service:
        service.put_products(PRODUCTS)
        # As many bytes and as many connections as the functions have, and nothing else.
        bare = boto3.client("dynamodb")
        payments = pay_in_turns(service, bare, _WARM_UP + paid).counted()
        statuses = read_in_turns(service, bare, _WARM_UP + read).counted()
    return family(payments, statuses)


def pay_in_turns(service: Service, bare: "DynamoDBClient", number: int) -> Turns:
    """Pay orders: one with the function, one with the requests that the function makes, recorded once."""
    function = service.function("initiate_payment")
    orders = [order.order_id for order in service.place_orders(2 * number + len(PRODUCTS), PRODUCTS)]
    # One for each product, so that the hottest item is no hotter for the one than for the other.
    recorded = [requests_of(function, service, orders.pop()) for _ in PRODUCTS]
    turns = Turns()
    for turn in range(number):
        event = service.event("initiate_payment", orderId=orders.pop())
        requests = about(recorded[turn % len(recorded)], orders.pop())
        turns.take(partial(call, function, event, expected=200), partial(replay, bare, requests))
    return turns


def read_in_turns(service: Service, bare: "DynamoDBClient", number: int) -> Turns:
    function = service.function("get_order_status")
    turns = Turns()
    for order in service.place_orders(number, PRODUCTS):
        event = service.event("get_order_status", orderId=order.order_id)
        key = {"orderId": {"S": order.order_id}}
        turns.take(
            partial(call, function, event, expected=200),
            partial(bare.get_item, TableName=ORDERS, Key=key, ConsistentRead=True),
        )
    return turns


def requests_of(function: Function, service: Service, order_id: str) -> Sequence[Call]:
    """What the function asks of DynamoDB to pay an order, the dummy Stripe's requests among it."""
    with recording(function.client) as made:
        call(function, service.event("initiate_payment", orderId=order_id), expected=200)
    return made


def replay(client: "DynamoDBClient", calls: Sequence[Call]) -> None:
    """Make the requests. They have conditions, so that one that would not have done its work raises."""
    for made in calls:
        getattr(client, made.method)(**made.parameters)


def family(payments: Turns, statuses: Turns) -> Family:
    milliseconds: Mapping[str, list[float]] = {
        "payment": [1000 * seconds for seconds in payments.function],
        "payment, its requests by bare boto3": [1000 * seconds for seconds in payments.bare],
        "status read": [1000 * seconds for seconds in statuses.function],
        "status read, get_item by bare boto3": [1000 * seconds for seconds in statuses.bare],
    }
    ratios = [
        Figure.ratio("warm payment ÷ the same requests by bare boto3", payments.function, payments.bare, PAYMENT_LIMIT),
        Figure.ratio("warm status read ÷ one bare get_item", statuses.function, statuses.bare, STATUS_LIMIT),
    ]
    times = [Figure.median(f"warm {name}", samples, "ms") for name, samples in milliseconds.items()]
    return Family(
        "warm",
        "Warm requests",
        [*ratios, *times],
        Bars(
            "A warm request, and its requests to DynamoDB by bare boto3 (median)",
            "ms, on DynamoDB Local",
            dict(zip(milliseconds, (time.value for time in times), strict=True)),
        ),
        notes=[
            f"{len(payments.bare)} payments and {len(statuses.bare)} reads each way, in turns, after {_WARM_UP} of each"
            " that are not counted.",
            "The dummy Stripe's requests to its table are among a payment's, both ways.",
        ],
    )
