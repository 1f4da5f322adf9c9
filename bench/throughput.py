"""How many payments a second one machine makes: the whole local stack over HTTP, and the use case on DynamoDB Local."""

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
from bench.service import BUYER, ORDERS, PLENTY, PRODUCTS, UNIT_PRICE, new_orders, running_service
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
"""In which the clients are threads: more than the processors of a small machine."""
FUNCTION_SECONDS = 28.0
STACK, ENGINE = "stack", "DynamoDB Local"
PAID, UNKNOWN, BUSY = 200, 202, 503

_STACK_PAYMENTS, _ENGINE_PAYMENTS = 192, 512
_QUICK_CLIENTS, _QUICK_PAYMENTS = (1, 8), 16
_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to one payment, by its HTTP status, and between which moments of the machine's clock it came."""

    status: int
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Round:
    """Answers, and how long the clients themselves had a processor meanwhile."""

    answers: Sequence[Answer]
    processor_seconds: float


@dataclass(frozen=True, slots=True)
class Rate:
    """What a number of clients came to. `client_share` is how much of the machine the clients themselves took."""

    payments_a_second: float
    busy_percent: float
    p50_ms: float
    p99_ms: float
    client_share: float

    @classmethod
    def of(cls, made: Round) -> "Rate":
        """Sum answers up. Raises `RuntimeError` where some are neither: what fails early would look fast."""
        answers = made.answers
        statuses = Counter(answer.status for answer in answers)
        if other := set(statuses) - {PAID, BUSY}:
            raise RuntimeError(f"payments were answered {sorted(other)}")
        seconds = max(answer.ended for answer in answers) - min(answer.began for answer in answers)
        latencies = sorted(1000 * (answer.ended - answer.began) for answer in answers)
        return cls(
            payments_a_second=statuses[PAID] / seconds,
            busy_percent=100 * statuses[BUSY] / len(answers),
            p50_ms=latencies[len(latencies) // 2],
            p99_ms=latencies[len(latencies) * 99 // 100],
            client_share=made.processor_seconds / seconds / (os.cpu_count() or 1),
        )


Place = Callable[[int, Sequence[str]], list[str]]
"""Places so many orders, of the products in turn, and returns their ids: past the API, which is for paying here."""
PayOne = Callable[[str], int]
"""Pays an order, by its id; returns the HTTP status."""


class Clients:
    """Processes in which clients pay, several at a time in each, so that no client waits for another's turn."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    @classmethod
    @contextmanager
    def using(cls, make: Callable[..., PayOne], *arguments: object) -> "Iterator[Clients]":
        """Clients who pay by what `make` returns for the arguments, in each process anew."""
        context = multiprocessing.get_context("spawn")
        start = context.Barrier(PROCESSES)
        with ProcessPoolExecutor(PROCESSES, context, initializer=_open, initargs=(start, make, arguments)) as pool:
            yield cls(pool)

    def pay(self, order_ids: Sequence[str], *, at_a_time: int) -> Round:
        shares = [order_ids[client::at_a_time] for client in range(at_a_time)]
        of_processes = [shares[process::PROCESSES] for process in range(PROCESSES)]
        rounds = list(self._pool.map(_pay_in_process, of_processes))
        return Round(
            [answer for part in rounds for answer in part.answers], sum(part.processor_seconds for part in rounds)
        )


class _Process:
    start: Barrier
    pay_one: PayOne


def _open(start: Barrier, make: Callable[..., PayOne], arguments: Sequence[object]) -> None:
    _Process.start = start
    # Set on the class, it would be a method.
    _Process.pay_one = staticmethod(make(*arguments))


def _pay_in_process(shares: Sequence[Sequence[str]]) -> Round:
    # A process takes one part, though it be empty, since none begins before all have one.
    _Process.start.wait(_START_SECONDS)
    began = time.process_time()
    with ThreadPoolExecutor(len(shares) or 1) as threads:
        answers = list(chain.from_iterable(threads.map(_pay_share, shares)))
    return Round(answers, time.process_time() - began)


def _pay_share(order_ids: Sequence[str]) -> list[Answer]:
    answers = []
    for order_id in order_ids:
        began = time.monotonic()
        status = _Process.pay_one(order_id)
        answers.append(Answer(status, began, time.monotonic()))
    return answers


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
        # Not counted: the functions that so many clients need are started by it, and the engine's code compiled.
        clients.pay(place(4 * max(number, PROCESSES), DEMANDS["many products"]), at_a_time=number)
        for demand, product_ids in DEMANDS.items():
            made = clients.pay(place(payments_each, product_ids), at_a_time=number)
            rates[f"{where}, {demand}"][number] = Rate.of(made)
    return rates


@contextmanager
def _stack(options: Options) -> Iterator[tuple[Place, Clients]]:
    """The whole stack as `make run` has it, on a free port, and clients of its API."""
    with start_stack(state=options.scratch / "stack") as stack, closing(stack.client("dynamodb")) as dynamodb:
        products = ProductsTable(dynamodb, stack.deployment.products_table)
        table = OrdersTable(dynamodb, stack.deployment.orders_table, products)
        _put_products(products)

        def place(number: int, product_ids: Sequence[str]) -> list[str]:
            return [table.create(order).order_id for order in new_orders(number, product_ids)]

        with Clients.using(_over_http, stack.api_url, bearer(stack.token(BUYER, ["buyer"]))) as clients:
            yield place, clients


def _over_http(api_url: str, headers: Mapping[str, str]) -> PayOne:
    http = httpx.Client(base_url=api_url, headers=headers, timeout=2 * FUNCTION_SECONDS, trust_env=False)
    return lambda order_id: http.post(f"/orders/{order_id}/payment").status_code


@contextmanager
def _engine(options: Options) -> Iterator[tuple[Place, Clients]]:
    """DynamoDB Local, and clients that are the use case itself."""
    with running_service(options) as service:
        _put_products(ProductsTable(service.client, PRODUCTS))

        def place(number: int, product_ids: Sequence[str]) -> list[str]:
            return [order.order_id for order in service.place_orders(number, product_ids)]

        with Clients.using(_on_the_engine) as clients:
            yield place, clients


def _on_the_engine() -> PayOne:
    client = dynamodb_client()
    orders = OrdersTable(client, ORDERS, ProductsTable(client, PRODUCTS))
    stripe = stripe_gateway(StripeSettings.from_environment())

    def pay(order_id: str) -> int:
        request = payments.PaymentRequest(order_id, BUYER, "pm_card_visa")
        deadline = Deadline.after(FUNCTION_SECONDS)
        try:
            result = payments.initiate_payment(request, orders=orders, stripe=stripe, deadline=deadline)
        except Busy:
            return BUSY
        return PAID if result.order.status is OrderStatus.CONFIRMED else UNKNOWN

    return pay


def _put_products(table: ProductsTable) -> None:
    for product_id in chain.from_iterable(DEMANDS.values()):
        table.put(product_id, name="Green tea", unit_price=UNIT_PRICE, currency="usd", stock=PLENTY)


def family(rates: Mapping[str, Mapping[int, Rate]], on_stack: int, on_engine: int) -> Family:
    busiest = max(rate.client_share for way, of in rates.items() if way.startswith(STACK) for rate in of.values())
    figures: list[Figure] = []
    for way, by_clients in rates.items():
        for clients, rate in by_clients.items():
            name = f"{way}, {clients} client{'s' if clients > 1 else ''}"
            figures += [
                Figure(f"{name}: payments a second", rate.payments_a_second, "a second"),
                Figure(f"{name}: answered 503", rate.busy_percent, "%"),
                Figure(f"{name}: p50", rate.p50_ms, "ms"),
                Figure(f"{name}: p99", rate.p99_ms, "ms"),
            ]
    return Family(
        "throughput",
        "Payments a second on this machine",
        figures,
        Lines(
            "Payments a second, by how many clients pay at a time",
            "clients",
            "payments a second",
            {
                way: [(clients, rate.payments_a_second) for clients, rate in by_clients.items()]
                for way, by_clients in rates.items()
            },
            log_x=True,
        ),
        notes=[
            f"{on_stack} payments for each point on the stack, {on_engine} on DynamoDB Local; few for a p99.",
            f"Clients are threads of {PROCESSES} processes. They share {os.cpu_count()} processors with the emulators"
            f" and take at most {busiest:.0%} of them on the stack; on DynamoDB Local they are the service.",
            "Stack: HTTP, gateway, authorizer, function, the dummy Stripe in its table, on MiniStack. DynamoDB Local:"
            " the use case alone, Stripe in memory.",
            "Neither rejects what overlaps, as AWS does: for that see the contention.",
        ],
    )
