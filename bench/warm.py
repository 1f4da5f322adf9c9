"""Duration of a request to a warm function, compared with its DynamoDB requests alone."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import boto3

from bench.figures import Bars, Family, Figure
from bench.options import Options
from bench.recording import Call, recording, rewrite_for_order
from bench.service import ORDERS, Function, Service, call, running_service

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PRODUCTS = [f"tea-{number}" for number in range(8)]
PAYMENT_LIMIT = 1.25
STATUS_LIMIT = 1.30

_PAYMENTS, _READS, _QUICK_TURNS = 1000, 3000, 60
_WARM_UP = 100
"""Turns that are not counted, while Java compiles the engine's code."""


@dataclass(slots=True)
class Turns:
    """Seconds of the function and of bare boto3 in each turn."""

    function: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)

    def time_both(self, function: Callable[[], object], bare: Callable[[], object]) -> None:
        """Time both, in alternating order, because the first may be slowed by work left from the previous turn."""
        ways = [(self.function, function), (self.bare, bare)]
        for times, way in ways if len(self.bare) % 2 else reversed(ways):
            started = time.perf_counter()
            way()
            times.append(time.perf_counter() - started)

    def without_warm_up(self) -> "Turns":
        return Turns(self.function[_WARM_UP:], self.bare[_WARM_UP:])


def measure(options: Options) -> Family:
    paid, read = (_QUICK_TURNS, _QUICK_TURNS) if options.quick else (_PAYMENTS, _READS)
    with running_service(options) as service:
        service.put_products(PRODUCTS)
        # Same requests and connections as the functions, without their code.
        bare = boto3.client("dynamodb")
        payments = pay_in_turns(service, bare, _WARM_UP + paid).without_warm_up()
        statuses = read_in_turns(service, bare, _WARM_UP + read).without_warm_up()
    return family(payments, statuses)


def pay_in_turns(service: Service, bare: "DynamoDBClient", number: int) -> Turns:
    """Pay orders in turn with the function and with its recorded requests."""
    function = service.function("initiate_payment")
    orders = [order.order_id for order in service.place_orders(2 * number + len(PRODUCTS), PRODUCTS)]
    # One recording per product, so that both write equally often to each item.
    recorded = [record_payment(function, service, orders.pop()) for _ in PRODUCTS]
    turns = Turns()
    for turn in range(number):
        event = service.event("initiate_payment", orderId=orders.pop())
        requests = rewrite_for_order(recorded[turn % len(recorded)], orders.pop())
        turns.time_both(partial(call, function, event, expected=200), partial(replay, bare, requests))
    return turns


def read_in_turns(service: Service, bare: "DynamoDBClient", number: int) -> Turns:
    function = service.function("get_order_status")
    turns = Turns()
    for order in service.place_orders(number, PRODUCTS):
        event = service.event("get_order_status", orderId=order.order_id)
        key = {"orderId": {"S": order.order_id}}
        turns.time_both(
            partial(call, function, event, expected=200),
            partial(bare.get_item, TableName=ORDERS, Key=key, ConsistentRead=True),
        )
    return turns


def record_payment(function: Function, service: Service, order_id: str) -> Sequence[Call]:
    """Pay an order and return the function's DynamoDB requests, including the dummy Stripe's."""
    with recording(function.client) as made:
        call(function, service.event("initiate_payment", orderId=order_id), expected=200)
    return made


def replay(client: "DynamoDBClient", calls: Sequence[Call]) -> None:
    """Replay the requests. Their conditions make a request that does not apply raise."""
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
            "Median time of a warm request, and of its DynamoDB requests by bare boto3",
            "ms, on DynamoDB Local",
            dict(zip(milliseconds, (time.value for time in times), strict=True)),
        ),
        notes=[
            f"{len(payments.bare)} payments and {len(statuses.bare)} reads each way, in turns, after a warm-up of"
            f" {_WARM_UP} each.",
            "Both ways of paying include the dummy Stripe's requests to its table.",
        ],
    )
