"""Payments by concurrent buyers of one product, with transaction conflicts as on AWS.

The service's code pays on DynamoDB Local behind `Conflicts`, in virtual time, so that only waiting counts.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import stripe

from bench.conflicts import ONE_WAY_SECONDS, Conflicts
from bench.figures import Family, Figure, Lines
from bench.options import Options
from bench.service import ORDERS, PRODUCTS, VALID_FOR, Service, running_service
from bench.virtual_time import VirtualTime
from dummy_stripe import MemoryStore
from dummy_stripe.http_client import DummyStripeHTTPClient
from local.stack import DUMMY_STRIPE_KEY
from order_payments import payments
from order_payments.domain.errors import Busy
from order_payments.domain.orders import Order, OrderStatus
from order_payments.runtime import clock, retry_budgets
from order_payments.runtime.clock import Deadline
from order_payments.runtime.retry_budgets import (
    BACKOFF_FIRST_SECONDS,
    BACKOFF_LONGEST_SECONDS,
    CLAIM_BUDGET_SECONDS,
    SETTLE_BUDGET_SECONDS,
)
from order_payments.storage.dynamodb import dynamodb_client
from order_payments.storage.orders_table import OrdersTable
from order_payments.storage.products_table import ProductsTable
from order_payments.stripe_adapter.gateway import StripeGateway

BUYERS = (1, 2, 4, 8, 16, 32, 64)
SHOWN_BUYERS = (8, 32, 64)
HOLDS_MS = (5, 10, 20)
MIDDLE_HOLD_MS = 10
PAYMENT_DEADLINE_SECONDS = 27.0
"""Time of the function for a payment, without its time to respond."""

AT_ONCE = (0.0, 0.0)
LIKE_STRIPE = (0.3, 0.9)
"""Seconds that Stripe takes to create an intent, and to confirm it."""

BUSY = "busy"

_PAYMENTS, _QUICK_PAYMENTS = 400, 64
_QUICK_BUYERS = (1, *SHOWN_BUYERS)


@dataclass(frozen=True, slots=True)
class Policy:
    """Retry policy of transactions, in seconds: limits of the pauses, and budgets to claim and to settle."""

    first: float
    longest: float
    claim: float
    settle: float

    @contextmanager
    def apply(self) -> Iterator[None]:
        """Apply the policy to the service within the block."""
        with (
            patch.multiple(retry_budgets, BACKOFF_FIRST_SECONDS=self.first, BACKOFF_LONGEST_SECONDS=self.longest),
            patch.multiple(retry_budgets, CLAIM_BUDGET_SECONDS=self.claim, SETTLE_BUDGET_SECONDS=self.settle),
        ):
            yield


CHOSEN = Policy(BACKOFF_FIRST_SECONDS, BACKOFF_LONGEST_SECONDS, CLAIM_BUDGET_SECONDS, SETTLE_BUDGET_SECONDS)
POLICIES: Mapping[str, Policy] = {
    "chosen": CHOSEN,
    "untuned": Policy(0.025, 0.4, claim=2, settle=3),
    "hasty": Policy(0.025, 0.05, claim=2, settle=3),
    "patient": Policy(0.05, 0.15, claim=4, settle=5),
}
"""The service's policy, the policy before tuning, and two alternatives."""


@dataclass(frozen=True, slots=True)
class Point:
    """A number of buyers who pay for one product at the same time, each one order after the other."""

    buyers: int
    hold_ms: int = MIDDLE_HOLD_MS
    policy: str = "chosen"
    stripe_seconds: tuple[float, float] = AT_ONCE


@dataclass(slots=True)
class Outcome:
    """Payments at a point: number of each answer, latency of each payment, and all transactions sent."""

    answers: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    transactions: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def share(self, answer: str) -> float:
        return 100 * self.answers[answer] / self.answers.total()

    @property
    def transactions_per_payment(self) -> float:
        """Transactions sent per payment. Two are needed."""
        return self.transactions.total() / self.answers.total()

    @property
    def transactions_per_second(self) -> float:
        """Transactions sent per second to the product's item."""
        return self.transactions.total() / self.seconds

    @property
    def confirmed_per_second(self) -> float:
        return self.answers[OrderStatus.CONFIRMED] / self.seconds

    def latency(self, percentile: float) -> float:
        """Return a percentile of the latency of all payments, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percentile / 100))]


def measure(options: Options) -> Family:
    number = _QUICK_PAYMENTS if options.quick else _PAYMENTS
    with running_service(options) as service:
        outcomes = {
            point: contend(service, point, product_id=f"hot-{place}", number=number)
            for place, point in enumerate(plan(quick=options.quick))
        }
    return family(outcomes, number)


def plan(*, quick: bool) -> list[Point]:
    """Return the points to measure: all holds under the chosen policy, and a selection of the others."""
    all_buyers = _QUICK_BUYERS if quick else BUYERS
    holds = [Point(buyers, hold) for hold in HOLDS_MS for buyers in all_buyers]
    untuned = [Point(buyers, policy="untuned") for buyers in all_buyers]
    if quick:
        return [*holds, *untuned]
    others = [Point(buyers, policy=policy) for policy in ("hasty", "patient") for buyers in SHOWN_BUYERS]
    slower = [
        Point(buyers, policy=policy, stripe_seconds=LIKE_STRIPE)
        for policy in ("chosen", "untuned")
        for buyers in SHOWN_BUYERS
    ]
    return [*holds, *untuned, *others, *slower]


def contend(service: Service, point: Point, *, product_id: str, number: int) -> Outcome:
    """Pay `number` orders of one product with the buyers of the point. Each run gives the same result."""
    service.put_products([product_id])
    orders = service.place_orders(number, [product_id])
    time, outcome = VirtualTime(), Outcome()
    conflicts = Conflicts(time, hold_seconds=point.hold_ms / 1000, hash_keys={ORDERS: "orderId", PRODUCTS: "productId"})
    client = dynamodb_client()
    conflicts.intercept(client)
    table = OrdersTable(client, ORDERS, ProductsTable(client, PRODUCTS))
    store = MemoryStore()

    def buy(share: Sequence[Order]) -> None:
        distant = _DistantStripe(store, time, point.stripe_seconds)
        sdk = stripe.StripeClient(DUMMY_STRIPE_KEY, http_client=distant)
        gateway = StripeGateway(sdk, distant, sleep=time.sleep)
        for order in share:
            started = time.monotonic()
            outcome.answers[_pay(order, table, gateway)] += 1
            outcome.latencies.append(time.monotonic() - started)

    with POLICIES[point.policy].apply(), _patch_clock(time):
        time.run([partial(buy, orders[buyer :: point.buyers]) for buyer in range(point.buyers)])
    client.close()
    outcome.transactions, outcome.seconds = conflicts.transactions, time.monotonic()
    return outcome


def _pay(order: Order, table: OrdersTable, gateway: StripeGateway) -> str:
    request = payments.PaymentRequest(order.order_id, order.buyer_id, "pm_card_visa")
    deadline = Deadline.after(PAYMENT_DEADLINE_SECONDS)
    try:
        return payments.initiate_payment(
            request, valid_for=VALID_FOR, orders=table, stripe=gateway, deadline=deadline
        ).order.status
    except Busy:
        return BUSY


class _DistantStripe(DummyStripeHTTPClient):
    """The dummy Stripe with the latency of a remote service."""

    def __init__(self, store: MemoryStore, time: VirtualTime, seconds: tuple[float, float]) -> None:
        super().__init__(store, sleep=time.sleep)
        self._seconds = seconds

    def request(self, method: str, url: str, *arguments: Any, **options: Any) -> tuple[str, int, Mapping[str, str]]:
        self.sleep(self._seconds[url.endswith("/confirm")])
        return super().request(method, url, *arguments, **options)


@contextmanager
def _patch_clock(time: VirtualTime) -> Iterator[None]:
    """Give the service the clock of virtual time, and the same random pauses in every run."""
    with (
        patch.object(clock, "time", SimpleNamespace(monotonic=time.monotonic)),
        patch.object(retry_budgets, "time", SimpleNamespace(sleep=time.sleep)),
        patch.object(retry_budgets, "random", random.Random(1)),  # noqa: S311 - no secret
    ):
        yield


def family(outcomes: Mapping[Point, Outcome], number: int) -> Family:
    shown = {point: outcome for point, outcome in outcomes.items() if point.buyers in SHOWN_BUYERS}
    figures = [figure for point, outcome in shown.items() for figure in _figures(point, outcome)]
    series = {f"{hold} ms": Point(0, hold) for hold in HOLDS_MS} | {
        f"{MIDDLE_HOLD_MS} ms, untuned": Point(0, policy="untuned")
    }
    return Family(
        "contention",
        "Hot product: concurrent buyers of one product, with conflicts as on AWS",
        figures,
        Lines(
            "Payments for one product that are not confirmed at once, by hold time of a transaction",
            "concurrent buyers",
            "% answered 503 or 202",
            {
                name: [
                    (point.buyers, 100 - outcome.share(OrderStatus.CONFIRMED))
                    for point, outcome in outcomes.items()
                    if (point.hold_ms, point.policy, point.stripe_seconds) == (of.hold_ms, of.policy, AT_ONCE)
                ]
                for name, of in series.items()
            },
            log_x=True,
        ),
        notes=[
            f"{number} payments for each number of buyers. A buyer pays the next order at once.",
            f"A transaction holds its items for 5, 10 or 20 ms from its arrival, and overlapping requests are rejected."
            f" A request and its response take {1000 * ONE_WAY_SECONDS:g} ms each. Unless stated otherwise, Stripe"
            " responds at once, which causes the most contention.",
            "In virtual time: results are the same on any machine.",
            "Stripe far off: Stripe takes {:g} s to create an intent and {:g} s to confirm it.".format(*LIKE_STRIPE),
            *(
                f"{name.capitalize()}: pauses of up to {policy.first:g} s at first and {policy.longest:g} s later,"
                f" for up to {policy.claim:g} s to claim and {policy.settle:g} s to settle."
                for name, policy in POLICIES.items()
            ),
        ],
    )


def _figures(point: Point, outcome: Outcome) -> list[Figure]:
    where = ", ".join(
        [
            f"{point.buyers} buyers",
            f"{point.hold_ms} ms held",
            *([] if point.policy == "chosen" else [point.policy]),
            *([] if point.stripe_seconds == AT_ONCE else ["Stripe far off"]),
        ]
    )
    return [
        Figure(f"{where}: answered 503", outcome.share(BUSY), "%"),
        Figure(f"{where}: left to the reconciler", outcome.share(OrderStatus.PENDING), "%"),
        Figure(f"{where}: p50", outcome.latency(50), "s"),
        Figure(f"{where}: p99", outcome.latency(99), "s"),
        Figure(f"{where}: transactions a payment", outcome.transactions_per_payment, "transactions"),
        Figure(f"{where}: transactions a second", outcome.transactions_per_second, "a second"),
        Figure(f"{where}: confirmed a second", outcome.confirmed_per_second, "a second"),
    ]
