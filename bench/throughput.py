"""Payments per second on one machine: the local stack over HTTP, and the use case on DynamoDB Local."""

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from multiprocessing.synchronize import Barrier

import httpx

from bench.figures import Family, Figure, Lines
from bench.options import Options
from bench.service import (
    AMPLE_STOCK,
    BUYER,
    ORDERS,
    PRODUCTS,
    UNIT_PRICE,
    VALID_FOR,
    new_orders,
    running_service,
)
from local.shop.client import bearer
from local.stack import start_stack
from order_payments import payments
from order_payments.domain.errors import Busy
from order_payments.domain.orders import OrderStatus
from order_payments.runtime.clock import Deadline
from order_payments.runtime.settings import StripeSettings
from order_payments.storage.dynamodb import dynamodb_client
from order_payments.storage.orders_table import OrdersTable
from order_payments.storage.products_table import ProductsTable
from order_payments.stripe_adapter.gateway import stripe_gateway

CLIENTS = (1, 2, 4, 8, 16, 32)
DEMANDS: Mapping[str, Sequence[str]] = {
    "many products": [f"spread-{number}" for number in range(64)],
    "one product": ["hot"],
}
PROCESSES = 4
"""Processes whose threads are the clients, more than a small machine has processors."""
PAYMENT_DEADLINE_SECONDS = 28.0
STACK, ENGINE = "stack", "DynamoDB Local"
PAID, UNKNOWN, BUSY = 200, 202, 503

_STACK_PAYMENTS, _ENGINE_PAYMENTS = 192, 512
_QUICK_CLIENTS, _QUICK_PAYMENTS = (1, 8), 16
_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class TimedResponse:
    """The HTTP status of a payment, and when it started and ended on the monotonic clock."""

    status: int
    started: float
    ended: float


@dataclass(frozen=True, slots=True)
class Round:
    """Answers, and the processor time that the clients used meanwhile."""

    responses: Sequence[TimedResponse]
    processor_seconds: float


@dataclass(frozen=True, slots=True)
class Rate:
    """Results of a number of clients. `client_share` is the clients' own share of the machine's processors."""

    payments_per_second: float
    busy_percent: float
    p50_ms: float
    p99_ms: float
    client_share: float

    @classmethod
    def of(cls, measured: Round) -> "Rate":
        """Summarize responses. Raises `RuntimeError` for a status other than 200 or 503: a failure may be fast."""
        responses = measured.responses
        statuses = Counter(answer.status for answer in responses)
        if other := set(statuses) - {PAID, BUSY}:
            raise RuntimeError(f"payments returned {sorted(other)}")
        seconds = max(answer.ended for answer in responses) - min(answer.started for answer in responses)
        latencies = sorted(1000 * (answer.ended - answer.started) for answer in responses)
        return cls(
            payments_per_second=statuses[PAID] / seconds,
            busy_percent=100 * statuses[BUSY] / len(responses),
            p50_ms=latencies[len(latencies) // 2],
            p99_ms=latencies[len(latencies) * 99 // 100],
            client_share=measured.processor_seconds / seconds / (os.cpu_count() or 1),
        )


Place = Callable[[int, Sequence[str]], list[str]]
"""Places a number of orders without the API, taking the products in turn, and returns their IDs."""
PayOne = Callable[[str], int]
"""Pays an order and returns the HTTP status."""


class Clients:
    """Clients that pay concurrently, as threads in several processes so that they do not wait for each other."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    @classmethod
    @contextmanager
    def start(cls, make: Callable[..., PayOne], *arguments: object) -> "Iterator[Clients]":
        """Start processes whose clients pay with the function that `make(*arguments)` returns in each process."""
        context = multiprocessing.get_context("spawn")
        start = context.Barrier(PROCESSES)
        with ProcessPoolExecutor(
            PROCESSES, context, initializer=_start_process, initargs=(start, make, arguments)
        ) as pool:
            yield cls(pool)

    def pay(self, order_ids: Sequence[str], *, at_a_time: int) -> Round:
        shares = [order_ids[client::at_a_time] for client in range(at_a_time)]
        of_processes = [shares[process::PROCESSES] for process in range(PROCESSES)]
        rounds = list(self._pool.map(_pay_in_process, of_processes))
        return Round(
            [answer for part in rounds for answer in part.responses], sum(part.processor_seconds for part in rounds)
        )


class _Process:
    start: Barrier
    pay_one: PayOne


def _start_process(start: Barrier, make: Callable[..., PayOne], arguments: Sequence[object]) -> None:
    _Process.start = start
    # Without `staticmethod`, the function would become a method.
    _Process.pay_one = staticmethod(make(*arguments))


def _pay_in_process(shares: Sequence[Sequence[str]]) -> Round:
    # The barrier gives each process exactly one part, possibly empty.
    _Process.start.wait(_START_SECONDS)
    started = time.process_time()
    with ThreadPoolExecutor(len(shares) or 1) as threads:
        responses = list(chain.from_iterable(threads.map(_pay_share, shares)))
    return Round(responses, time.process_time() - started)


def _pay_share(order_ids: Sequence[str]) -> list[TimedResponse]:
    responses = []
    for order_id in order_ids:
        started = time.monotonic()
        status = _Process.pay_one(order_id)
        responses.append(TimedResponse(status, started, time.monotonic()))
    return responses


def measure(options: Options) -> Family:
    numbers = _QUICK_CLIENTS if options.quick else CLIENTS
    on_stack, on_engine = (_QUICK_PAYMENTS,) * 2 if options.quick else (_STACK_PAYMENTS, _ENGINE_PAYMENTS)
    rates: dict[str, dict[int, Rate]] = {}
    with _stack(options) as (place, clients):
        rates |= _rates(STACK, place, clients, numbers, on_stack)
    with _engine(options) as (place, clients):
        rates |= _rates(ENGINE, place, clients, numbers, on_engine)
    return family(rates, on_stack, on_engine)


def _rates(
    where: str, place: Place, clients: Clients, numbers: Sequence[int], payments_each: int
) -> dict[str, dict[int, Rate]]:
    rates: dict[str, dict[int, Rate]] = {f"{where}, {demand}": {} for demand in DEMANDS}
    for number in numbers:
        # Warm-up, not counted: starts as many functions as the clients need, and has Java compile the engine's code.
        clients.pay(place(4 * max(number, PROCESSES), DEMANDS["many products"]), at_a_time=number)
        for demand, product_ids in DEMANDS.items():
            measured = clients.pay(place(payments_each, product_ids), at_a_time=number)
            rates[f"{where}, {demand}"][number] = Rate.of(measured)
    return rates


@contextmanager
def _stack(options: Options) -> Iterator[tuple[Place, Clients]]:
    """Start the local stack of `make run` on a free port, and clients of its API."""
    with start_stack(state=options.scratch / "stack") as stack, closing(stack.client("dynamodb")) as dynamodb:
        products = ProductsTable(dynamodb, stack.deployment.products_table)
        table = OrdersTable(dynamodb, stack.deployment.orders_table, products)
        _put_products(products)

        def place(number: int, product_ids: Sequence[str]) -> list[str]:
            return [table.create(order).order_id for order in new_orders(number, product_ids)]

        with Clients.start(_over_http, stack.api_url, bearer(stack.token(BUYER, ["buyer"]))) as clients:
            yield place, clients


def _over_http(api_url: str, headers: Mapping[str, str]) -> PayOne:
    http = httpx.Client(base_url=api_url, headers=headers, timeout=2 * PAYMENT_DEADLINE_SECONDS, trust_env=False)
    return lambda order_id: http.post(f"/orders/{order_id}/payment").status_code


@contextmanager
def _engine(options: Options) -> Iterator[tuple[Place, Clients]]:
    """Start DynamoDB Local, and clients that run the use case."""
    with running_service(options) as service:
        _put_products(ProductsTable(service.client, PRODUCTS))

        def place(number: int, product_ids: Sequence[str]) -> list[str]:
            return [order.order_id for order in service.place_orders(number, product_ids)]

        with Clients.start(_on_the_engine) as clients:
            yield place, clients


def _on_the_engine() -> PayOne:
    client = dynamodb_client()
    orders = OrdersTable(client, ORDERS, ProductsTable(client, PRODUCTS))
    stripe = stripe_gateway(StripeSettings.from_environment())

    def pay(order_id: str) -> int:
        request = payments.PaymentRequest(order_id, BUYER, "pm_card_visa")
        deadline = Deadline.after(PAYMENT_DEADLINE_SECONDS)
        try:
            result = payments.initiate_payment(
                request, valid_for=VALID_FOR, orders=orders, stripe=stripe, deadline=deadline
            )
        except Busy:
            return BUSY
        return PAID if result.order.status is OrderStatus.CONFIRMED else UNKNOWN

    return pay


def _put_products(table: ProductsTable) -> None:
    for product_id in chain.from_iterable(DEMANDS.values()):
        table.put(product_id, name="Green tea", unit_price=UNIT_PRICE, currency="usd", stock=AMPLE_STOCK)


def family(rates: Mapping[str, Mapping[int, Rate]], on_stack: int, on_engine: int) -> Family:
    busiest = max(rate.client_share for way, of in rates.items() if way.startswith(STACK) for rate in of.values())
    figures: list[Figure] = []
    for way, by_clients in rates.items():
        for clients, rate in by_clients.items():
            name = f"{way}, {clients} client{'s' if clients > 1 else ''}"
            figures += [
                Figure(f"{name}: payments a second", rate.payments_per_second, "a second"),
                Figure(f"{name}: answered 503", rate.busy_percent, "%"),
                Figure(f"{name}: p50", rate.p50_ms, "ms"),
                Figure(f"{name}: p99", rate.p99_ms, "ms"),
            ]
    return Family(
        "throughput",
        "Payments per second on this machine",
        figures,
        Lines(
            "Payments per second, by number of concurrent clients",
            "clients",
            "payments per second",
            {
                way: [(clients, rate.payments_per_second) for clients, rate in by_clients.items()]
                for way, by_clients in rates.items()
            },
            log_x=True,
        ),
        notes=[
            f"{on_stack} payments for each point on the stack, {on_engine} on DynamoDB Local, which is few for a p99.",
            f"Clients are threads of {PROCESSES} processes. They share {os.cpu_count()} processors with the emulators,"
            f" and use at most {busiest:.0%} of them on the stack. On DynamoDB Local the clients run the service.",
            "Stack: HTTP, gateway, authorizer, function and the dummy Stripe with its table, on MiniStack. DynamoDB"
            " Local: only the use case, with the dummy Stripe in memory.",
            "Neither engine rejects overlapping transactions as AWS does: see the family contention.",
        ],
    )
