"""What a million payments cost at AWS's list prices, which are in `prices.json`: no free tier, no discount.

A payment is an order placed and paid: two requests of the API. What it takes of the processor, of DynamoDB's units and
of the logs is counted here; what it waits for is assumed, and said so with the figures.
"""

import json
import math
import os
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.capacity import meter
from bench.figures import Family, Figure, Lines
from bench.options import Options
from bench.service import Function, Service, call, running_service
from command_line.project import PROJECT
from harness.functions import Context, load_function

PAYMENTS = 1_000_000
MEMORY_MB = (256, 512, 1024)
DEPLOYED_MB = 512

MEMORY_OF_A_PROCESSOR_MB = 1769
"""With so much memory a function has one virtual processor; with less, its share of one.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
"""

READ_SECONDS = 0.005
TRANSACTION_SECONDS = 0.012
STRIPE_SECONDS = 1.2
AUTHORIZED_ANEW = 0.5
TRACED = 0.05
PLATFORM_LOG_BYTES = 350

_WARM_UP, _CALLS, _QUICK_CALLS = 50, 300, 30
_PRODUCT = "green-tea"

Prices = Mapping[str, float]
"""Dollars for one of each."""


@dataclass(frozen=True, slots=True)
class Invocations:
    """Of a function, for one payment: so many, each with so long a computation, wait and log."""

    number: float
    processor_seconds: float
    waiting_seconds: float
    log_bytes: float

    def seconds(self, memory_mb: int) -> float:
        """What one of them is billed for, to the full millisecond."""
        share = min(1.0, memory_mb / MEMORY_OF_A_PROCESSOR_MB)
        return math.ceil(1000 * (self.processor_seconds / share + self.waiting_seconds)) / 1000


@dataclass(frozen=True, slots=True)
class Usage:
    requests: int
    functions: Sequence[Invocations]
    read_units: float
    write_units: float
    traces: float


def dollars(usage: Usage, prices: Prices, *, memory_mb: int, architecture: str) -> dict[str, float]:
    gigabyte = memory_mb / 1024
    gb_second = prices[f"lambda_gb_second_{architecture}"]
    of_one = {
        "API Gateway": usage.requests * prices["api_gateway_request"],
        "Lambda": sum(
            function.number * (prices["lambda_request"] + function.seconds(memory_mb) * gigabyte * gb_second)
            for function in usage.functions
        ),
        "DynamoDB": usage.write_units * prices["dynamodb_write_unit"] + usage.read_units * prices["dynamodb_read_unit"],
        "CloudWatch Logs": sum(function.number * function.log_bytes for function in usage.functions)
        / 1e9
        * prices["logs_gb"],
        "X-Ray": usage.traces * prices["xray_trace"],
    }
    return {service: PAYMENTS * price for service, price in of_one.items()}


def read_prices(path: Path) -> Prices:
    listed = json.loads(path.read_text())["prices"]
    return {name: price["dollars"] / price["each"] for name, price in listed.items()}


def measure(options: Options) -> Family:
    number = _QUICK_CALLS if options.quick else _CALLS
    with running_service(options) as service:
        # The dummy in memory: it stands for a Stripe that has its state to itself.
        os.environ["DUMMY_STRIPE_TABLE"] = ""
        usage = _usage(service, options.scratch / "functions.log", number)
    table = Path(__file__).with_name("prices.json")
    return family(usage, read_prices(table), looked_up=json.loads(table.read_text())["looked_up"])


def family(usage: Usage, prices: Prices, *, looked_up: str) -> Family:
    split = {memory: dollars(usage, prices, memory_mb=memory, architecture="arm64") for memory in MEMORY_MB}
    totals = {memory: sum(services.values()) for memory, services in split.items()}
    other = sum(dollars(usage, prices, memory_mb=DEPLOYED_MB, architecture="x86_64").values())
    figures = [
        *(Figure(f"a million payments, {memory} MB", total, "dollars") for memory, total in totals.items()),
        Figure(f"a million payments, {DEPLOYED_MB} MB, x86_64", other, "dollars"),
        *(
            Figure(f"a million payments, {DEPLOYED_MB} MB: {service}", price, "dollars")
            for service, price in split[DEPLOYED_MB].items()
        ),
        Figure("read units of an order placed and paid", usage.read_units, "units"),
        Figure("write units of an order placed and paid", usage.write_units, "units"),
    ]
    series: dict[str, list[tuple[float, float]]] = {"total": list(totals.items())}
    for service in split[DEPLOYED_MB]:
        series[service] = [(memory, split[memory][service]) for memory in MEMORY_MB]
    return Family(
        "price",
        "Price of a million payments",
        figures,
        Lines("A million orders, each placed and paid, at AWS's list prices", "MB of memory", "dollars", series),
        notes=[
            f"List prices of us-east-1 as of {looked_up} (bench/prices.json), on arm64 where nothing else is said;"
            " without free tiers.",
            f"Counted: DynamoDB's units, log lines, and the processor's time of warm functions on this machine; a"
            f" function has one processor at {MEMORY_OF_A_PROCESSOR_MB:,} MB and its share of one below.",
            f"Assumed: {STRIPE_SECONDS:g} s for Stripe to create and confirm, {1000 * READ_SECONDS:g} ms for a read or"
            f" a write of DynamoDB's and {1000 * TRANSACTION_SECONDS:g} ms for a transaction;"
            f" {AUTHORIZED_ANEW:.0%} of the requests are authorized anew, the others by API Gateway's cache;"
            f" {TRACED:.0%} are traced; Lambda itself logs {PLATFORM_LOG_BYTES} bytes for each invocation.",
            "Left out: Stripe's own fees, which are by far the most; cold starts, storage, backups, transfer out and"
            " the reconciler, whose price does not grow with the payments.",
        ],
    )


def _usage(service: Service, log: Path, number: int) -> Usage:
    service.put_products([_PRODUCT])
    create, pay, authorize = (
        service.function("create_order"),
        service.function("initiate_payment"),
        _authorizer(service),
    )
    placed = iter(service.place_orders(_WARM_UP + number + 1, [_PRODUCT]))

    def create_one(function: Function = create) -> object:
        return call(function, _order_event(service), expected=201)

    def pay_one(function: Function = pay) -> object:
        return call(function, service.event("initiate_payment", orderId=next(placed).order_id), expected=200)

    costs = [meter(service, "create_order", create_one).service, meter(service, "initiate_payment", pay_one).service]
    functions = []
    for one, number_of_them, waiting in (
        (authorize, 2 * AUTHORIZED_ANEW, 0.0),
        # It looks for the order that its idempotency key may have placed, reads the product, writes the order.
        (create_one, 1.0, 3 * READ_SECONDS),
        (pay_one, 1.0, READ_SECONDS + 2 * TRANSACTION_SECONDS + STRIPE_SECONDS),
    ):
        processor_seconds, log_bytes = _timed(one, log, number)
        functions.append(Invocations(number_of_them, processor_seconds, waiting, log_bytes + PLATFORM_LOG_BYTES))
    return Usage(
        requests=2,
        functions=functions,
        read_units=sum(cost.read_units for cost in costs),
        write_units=sum(cost.write_units + cost.index_write_units for cost in costs),
        traces=2 * TRACED,
    )


def _timed(one: Callable[[], object], log: Path, number: int) -> tuple[float, float]:
    """The processor's time for one, the median, and what one writes to the log."""
    for _ in range(_WARM_UP):
        one()
    sys.stdout.flush()
    log_before = log.stat().st_size
    seconds = []
    for _ in range(number):
        began = time.process_time()
        one()
        seconds.append(time.process_time() - began)
    sys.stdout.flush()
    return statistics.median(seconds), (log.stat().st_size - log_before) / number


def _order_event(service: Service) -> dict[str, Any]:
    event = service.event("create_order")
    key = uuid.uuid4().hex
    event["headers"]["Idempotency-Key"] = key
    event["multiValueHeaders"]["Idempotency-Key"] = [key]
    return event


def _authorizer(service: Service) -> Callable[[], object]:
    """A call of the authorizer, with the token that is good until 2100."""
    # Its modules are each other's neighbours, as in its package.
    sys.path.append(str(PROJECT / "functions" / "authorizer"))
    return partial(load_function("authorizer").handler, service.event("authorizer"), Context())
