"""Price of a million payments at AWS's list prices in `prices.json`, without free tier and discounts.

A payment is an order placed and paid, which takes two API requests. Processor time, DynamoDB units and log bytes are
measured. Waiting times are assumed, and listed with the figures.
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

MEMORY_PER_VCPU_MB = 1769
"""Memory at which a function has one vCPU. With less, it has a proportional share.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
"""

READ_SECONDS = 0.005
TRANSACTION_SECONDS = 0.012
STRIPE_SECONDS = 1.2
UNCACHED_AUTHORIZATION_SHARE = 0.5
TRACED_SHARE = 0.05
PLATFORM_LOG_BYTES = 350

_WARM_UP, _CALLS, _QUICK_CALLS = 50, 300, 30
_PRODUCT = "green-tea"

Prices = Mapping[str, float]
"""Dollars per unit."""


@dataclass(frozen=True, slots=True)
class Invocations:
    """Invocations of a function for one payment, with the processor time, waiting time and log bytes of each."""

    number: float
    processor_seconds: float
    waiting_seconds: float
    log_bytes: float

    def seconds(self, memory_mb: int) -> float:
        """Return the billed duration of one invocation, rounded up to a millisecond."""
        share = min(1.0, memory_mb / MEMORY_PER_VCPU_MB)
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
    per_payment = {
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
    return {service: PAYMENTS * price for service, price in per_payment.items()}


def read_prices(path: Path) -> Prices:
    listed = json.loads(path.read_text())["prices"]
    return {name: price["dollars"] / price["each"] for name, price in listed.items()}


def measure(options: Options) -> Family:
    number = _QUICK_CALLS if options.quick else _CALLS
    with running_service(options) as service:
        # Keep the dummy Stripe in memory, because Stripe causes no requests to DynamoDB.
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
            f"List prices of us-east-1 on {looked_up} (bench/prices.json), without free tiers, on arm64 unless stated"
            " otherwise.",
            f"Measured: DynamoDB units, log bytes, and the processor time of warm functions on this machine. A function"
            f" has one vCPU at {MEMORY_PER_VCPU_MB:,} MB and a proportional share below.",
            f"Assumed: {STRIPE_SECONDS:g} s for Stripe to create and confirm, {1000 * READ_SECONDS:g} ms for a"
            f" read or a write of DynamoDB and {1000 * TRANSACTION_SECONDS:g} ms for a transaction."
            f" {UNCACHED_AUTHORIZATION_SHARE:.0%} of the requests invoke the authorizer, the others hit API Gateway's"
            f" cache. {TRACED_SHARE:.0%} are traced. Lambda logs {PLATFORM_LOG_BYTES} bytes per invocation.",
            "Not included: Stripe's fees, which are by far the largest part; cold starts, storage, backups, outbound"
            " transfer, and the reconciler, whose price does not grow with the payments.",
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
        (authorize, 2 * UNCACHED_AUTHORIZATION_SHARE, 0.0),
        # Reads the order of the idempotency key, reads the product, writes the order.
        (create_one, 1.0, 3 * READ_SECONDS),
        (pay_one, 1.0, READ_SECONDS + 2 * TRANSACTION_SECONDS + STRIPE_SECONDS),
    ):
        processor_seconds, log_bytes = _measure_call(one, log, number)
        functions.append(Invocations(number_of_them, processor_seconds, waiting, log_bytes + PLATFORM_LOG_BYTES))
    return Usage(
        requests=2,
        functions=functions,
        read_units=sum(cost.read_units for cost in costs),
        write_units=sum(cost.write_units + cost.index_write_units for cost in costs),
        traces=2 * TRACED_SHARE,
    )


def _measure_call(one: Callable[[], object], log: Path, number: int) -> tuple[float, float]:
    """Return the median processor seconds and the log bytes of a call."""
    for _ in range(_WARM_UP):
        one()
    sys.stdout.flush()
    log_before = log.stat().st_size
    seconds = []
    for _ in range(number):
        started = time.process_time()
        one()
        seconds.append(time.process_time() - started)
    sys.stdout.flush()
    return statistics.median(seconds), (log.stat().st_size - log_before) / number


def _order_event(service: Service) -> dict[str, Any]:
    event = service.event("create_order")
    key = uuid.uuid4().hex
    event["headers"]["Idempotency-Key"] = key
    event["multiValueHeaders"]["Idempotency-Key"] = [key]
    return event


def _authorizer(service: Service) -> Callable[[], object]:
    """Return a call of the authorizer with a token that is valid until 2100."""
    # The authorizer imports its modules by their bare names.
    sys.path.append(str(PROJECT / "functions" / "authorizer"))
    return partial(load_function("authorizer").handler, service.event("authorizer"), Context())
