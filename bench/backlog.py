"""Time that the reconciler needs to settle the backlog of a Stripe outage.

The reconciler's run loop runs in virtual time against models of the index, DynamoDB, Stripe and the processor. The
processor time per order is measured with the service's code on DynamoDB Local.
"""

import time as real_time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import stripe

from bench.figures import Bars, Family, Figure
from bench.options import Options
from bench.service import ORDERS, PRODUCTS, VALID_FOR, Service, running_service
from bench.virtual_time import VirtualTime
from dummy_stripe import MemoryStore
from dummy_stripe.http_client import DummyStripeHTTPClient
from harness.functions import load_function
from local.stack import DUMMY_STRIPE_KEY
from order_payments.domain.orders import Order, OrderLine, OrderStatus, PaymentAttempt
from order_payments.payments import PaymentRequest, initiate_payment, reconcile
from order_payments.runtime import clock
from order_payments.runtime.clock import Deadline, rfc3339, utc_now
from order_payments.storage.dynamodb import dynamodb_client
from order_payments.storage.order_writes import REFUND_SHARDS, UNSETTLED_SHARDS, shard_of
from order_payments.storage.orders_table import OrdersTable
from order_payments.storage.products_table import ProductsTable
from order_payments.storage.unsettled_index import Unsettled
from order_payments.stripe_adapter.gateway import StripeGateway
from order_payments.stripe_adapter.outcomes import Unknown
from order_payments.stripe_adapter.retries import STRIPE_CALL_TIMEOUT_SECONDS

OUTAGE_MINUTES = 10
RUN_INTERVAL_SECONDS = 60
DYNAMODB_SECONDS = 0.02
"""Per order: a read and a transaction."""
STRIPE_CANCEL_SECONDS, STRIPE_RETRIEVE_SECONDS = 0.4, 0.2
PROCESSOR_SECONDS = 0.006
"""Per order. More than `measure_processor` returns, because the dummy has no TLS."""
DRAIN_LIMIT_MINUTES = 15.0
OUTAGE_RUN_LIMIT = 200
"""Orders that a run may try while Stripe does not respond."""

_NOW = datetime(2026, 11, 29, tzinfo=UTC)
_MEASURED_ORDERS, _QUICK_ORDERS = 200, 20
_UNPACED = 1e6


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings of the reconciler, named like the constants in its module."""

    orders_per_second: float
    concurrency: int
    batch: int
    timeout_seconds: float
    unanswered_limit: int


@dataclass(frozen=True, slots=True)
class Point:
    """A backlog of ten minutes of payments, of which Stripe charged `paid_percent`."""

    payments_per_second: int
    paid_percent: int
    policy: Policy

    @property
    def orders(self) -> int:
        return OUTAGE_MINUTES * 60 * self.payments_per_second


@dataclass(slots=True)
class Outcome:
    """The runs until the backlog is settled. `calls` counts the calls to Stripe in each second."""

    seconds: float = 0.0
    settled: list[int] = field(default_factory=list)
    calls: Counter[int] = field(default_factory=Counter)

    @property
    def most_calls_per_second(self) -> int:
        return max(self.calls.values())


class Backlog:
    """Models of the index, DynamoDB, Stripe and one processor, with the methods that the run loop calls."""

    def __init__(self, time: VirtualTime, orders: int, paid_percent: int) -> None:
        self._time = time
        self._paid_percent = paid_percent
        self._processor_is_free_at = 0.0
        self.is_stripe_down = False
        self.tried = 0
        self.calls: Counter[int] = Counter()
        self._entries: dict[str, dict[str, str]] = {shard: {} for shard in (*UNSETTLED_SHARDS, *REFUND_SHARDS)}
        for number in range(orders):
            since = _NOW - timedelta(hours=2) + timedelta(milliseconds=number)
            order_id = f"ord_{number:032x}"
            self._entries[shard_of(order_id)][order_id] = rfc3339(since)

    def __len__(self) -> int:
        return sum(map(len, self._entries.values()))

    @property
    def unsettled(self) -> "Backlog":
        """Return itself: it models the index, too."""
        return self

    def entries(self, shard: str, *, before: datetime, limit: int) -> list[Unsettled]:  # noqa: ARG002 - all are older than `before`
        return [Unsettled(*entry) for entry in islice(self._entries[shard].items(), limit)]

    def entries_ahead(self, *_: object, **__: object) -> list[Unsettled]:
        """Return none: no entry is dated in the future."""
        return []

    def postpone(self, order_id: str, *, to: datetime, **_: object) -> None:
        shard = self._entries[shard_of(order_id)]
        shard.pop(order_id)
        shard[order_id] = rfc3339(to)

    def retrieve_state(self, *_: object, **__: object) -> Unknown:
        """Return an unknown state, because Stripe does not respond."""
        self._call(STRIPE_CALL_TIMEOUT_SECONDS)
        return Unknown()

    def get(self, order_id: str) -> Order:
        return _order(order_id, OrderStatus.PENDING)

    def reconcile(self, order: Order, **_: object) -> Order:
        """Spend the time that one order takes, and return the settled order."""
        order_id = order.order_id
        self.tried += 1
        self._use_processor()
        is_paid = int(order_id[4:], 16) % 100 < self._paid_percent
        if self.is_stripe_down:
            self._call(STRIPE_CALL_TIMEOUT_SECONDS)
            return order
        self._call(STRIPE_CANCEL_SECONDS)
        if is_paid:
            self._call(STRIPE_RETRIEVE_SECONDS)
        self._time.sleep(DYNAMODB_SECONDS)
        del self._entries[shard_of(order_id)][order_id]
        return _order(order_id, OrderStatus.CONFIRMED if is_paid else OrderStatus.CANCELLED)

    def _call(self, seconds: float) -> None:
        self.calls[int(self._time.monotonic())] += 1
        self._time.sleep(seconds)

    def _use_processor(self) -> None:
        now = self._time.monotonic()
        self._processor_is_free_at = max(now, self._processor_is_free_at) + PROCESSOR_SECONDS
        self._time.sleep(self._processor_is_free_at - now)


class VirtualPool:
    """Thread pool for the reconciler, in virtual time."""

    def __init__(self, time: VirtualTime, workers: int) -> None:
        self._time = time
        self._workers = workers

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Return the function's results, in the order of the items. Items are started in order."""
        waiting = list(enumerate(items))
        returned: list[Any] = [None] * len(waiting)
        queue = iter(waiting)

        def work() -> None:
            for place, item in queue:
                returned[place] = function(item)

        self._time.run([work] * self._workers)
        return returned


def measure(options: Options) -> Family:
    with running_service(options) as service:
        processor = measure_processor(service, _QUICK_ORDERS if options.quick else _MEASURED_ORDERS)
        reconciler = load_function("reconcile_payments")
        outcomes = {name: drain(reconciler, point) for name, point in plan(reconciler, quick=options.quick).items()}
        hanging = count_orders_tried_in_outage(reconciler)
    return family(outcomes, processor, hanging)


def deployed_policy(reconciler: ModuleType, payments_per_second: int) -> Policy:
    from delivery.rendering import template

    function = template()["Resources"]["ReconcilePaymentsFunction"]["Properties"]
    return Policy(
        int(template()["Mappings"]["Capacity"][str(payments_per_second)]["Reconciled"]),
        reconciler.CONCURRENCY,
        reconciler.BATCH_SIZE,
        function["Timeout"],
        reconciler.UNANSWERED_LIMIT,
    )


FORMER_POLICY = Policy(_UNPACED, concurrency=8, batch=32, timeout_seconds=50, unanswered_limit=10**9)
"""The reconciler's settings until November 2026."""


def plan(reconciler: ModuleType, *, quick: bool) -> dict[str, Point]:
    peak = 10 if quick else 100
    points = {
        "before, none paid": Point(peak, 0, FORMER_POLICY),
        **{
            f"{share}": Point(peak, percent, deployed_policy(reconciler, peak))
            for share, percent in (("none paid", 0), ("half paid", 50), ("all paid", 100))
        },
    }
    if quick:
        return points
    return {
        **points,
        "10 payments per second, all paid": Point(10, 100, deployed_policy(reconciler, 10)),
        "unpaced": Point(100, 0, deployed_policy(reconciler, 1000)),
    }


def drain(reconciler: ModuleType, point: Point) -> Outcome:
    time, outcome = VirtualTime(), Outcome()
    backlog = Backlog(time, point.orders, point.paid_percent)
    with patch_reconciler(time, reconciler, point.policy, backlog):
        while len(backlog):
            started = time.monotonic()
            tally = run_once(reconciler, backlog, point.policy)
            outcome.settled.append(tally.settled)
            outcome.seconds = time.monotonic()
            if len(backlog):
                time.run([partial(time.sleep, max(0.0, started + RUN_INTERVAL_SECONDS - time.monotonic()))])
    outcome.calls = backlog.calls
    return outcome


def count_orders_tried_in_outage(reconciler: ModuleType) -> int:
    """Return how many orders one run tries and postpones while every call to Stripe times out."""
    time, policy = VirtualTime(), deployed_policy(reconciler, 100)
    backlog = Backlog(time, 6000, 0)
    backlog.is_stripe_down = True
    with patch_reconciler(time, reconciler, policy, backlog):
        run_once(reconciler, backlog, policy)
    return backlog.tried


def run_once(reconciler: ModuleType, backlog: Backlog, policy: Policy) -> Any:
    """Run the reconciler once, with the deadline that its timeout allows."""
    deadline = Deadline.after(policy.timeout_seconds - reconciler.RECONCILER_REPORT_SECONDS)
    return reconciler.reconcile_payments(backlog, backlog, now=_NOW, deadline=deadline)


@contextmanager
def patch_reconciler(time: VirtualTime, reconciler: ModuleType, policy: Policy, backlog: Backlog) -> Iterator[None]:
    """Run the reconciler with this policy, in virtual time and on the models."""
    virtual = SimpleNamespace(monotonic=time.monotonic, sleep=time.sleep)
    with (
        patch.object(clock, "time", virtual),
        patch.multiple(
            reconciler,
            time=virtual,
            utc_now=lambda: _NOW,
            ThreadPoolExecutor=lambda workers, **_: nullcontext(VirtualPool(time, workers)),
            reconcile=backlog.reconcile,
            reconciler_settings=SimpleNamespace(orders_per_second=policy.orders_per_second),
            CONCURRENCY=policy.concurrency,
            BATCH_SIZE=policy.batch,
            UNANSWERED_LIMIT=policy.unanswered_limit,
        ),
    ):
        yield


def _order(order_id: str, status: OrderStatus) -> Order:
    since = _NOW - timedelta(hours=2)
    order = Order.place("alice", [OrderLine("tea", "Green tea", 1, 4599)], "usd", since, order_id=order_id)
    attempt = PaymentAttempt("att_1", "pi_1", "pm_card_visa", started_at=since)
    return replace(order, status=status, attempt=attempt)


def measure_processor(service: Service, number: int) -> float:
    """Return the processor seconds per settled order, of the service's code and Stripe's SDK."""
    service.put_products(["tea"])
    client = dynamodb_client()
    table = OrdersTable(client, ORDERS, ProductsTable(client, PRODUCTS))
    wire = DummyStripeHTTPClient(MemoryStore(), sleep=lambda _: None)
    gateway = StripeGateway(
        stripe.StripeClient(DUMMY_STRIPE_KEY, http_client=wire, max_network_retries=0), wire, sleep=lambda _: None
    )
    orders = service.place_orders(number, ["tea"])
    for order in orders:
        request = PaymentRequest(order.order_id, order.buyer_id, "pm_dummy_timeout_before_charge")
        initiate_payment(request, valid_for=VALID_FOR, orders=table, stripe=gateway, deadline=Deadline.after(28))
    later = utc_now() + timedelta(hours=1)
    started = real_time.process_time()
    for order in orders:
        settled = reconcile(
            table.get(order.order_id), before=later, orders=table, stripe=gateway, deadline=Deadline.after(50)
        )
        if settled.status is OrderStatus.PENDING:
            raise RuntimeError(f"{order.order_id} was not settled")
    used = real_time.process_time() - started
    client.close()
    return used / number


def family(outcomes: Mapping[str, Outcome], processor: float, hanging: int) -> Family:
    figures = []
    for name, outcome in outcomes.items():
        limit = None if name == "before, none paid" else DRAIN_LIMIT_MINUTES
        figures += [
            Figure(f"{name}: minutes until the backlog is settled", outcome.seconds / 60, "min", limit),
            Figure(f"{name}: settled by the first run", outcome.settled[0], "orders"),
            Figure(f"{name}: most calls of Stripe in a second", outcome.most_calls_per_second, "calls"),
        ]
    figures += [
        Figure("orders that a run tries while Stripe does not respond", hanging, "orders", OUTAGE_RUN_LIMIT),
        Figure("processor time of one order", 1000 * processor, "ms"),
    ]
    return Family(
        "backlog",
        "Backlog after ten minutes without Stripe",
        figures,
        Bars(
            "Minutes until the backlog is settled",
            "minutes",
            {name: outcome.seconds / 60 for name, outcome in outcomes.items()},
            dict.fromkeys([name for name in outcomes if name != "before, none paid"], DRAIN_LIMIT_MINUTES),
        ),
        notes=[
            f"Unless stated otherwise: {OUTAGE_MINUTES} minutes at 100 payments per second, which is 60,000 orders.",
            f"In virtual time. Stripe takes {STRIPE_CANCEL_SECONDS:g} s to cancel and {STRIPE_RETRIEVE_SECONDS:g} s to"
            f" retrieve. Each order takes {1000 * DYNAMODB_SECONDS:g} ms of DynamoDB and"
            f" {1000 * PROCESSOR_SECONDS:g} ms of the processor.",
            "A paid order takes two calls to Stripe, any other order one.",
            "Before: 8 threads, a timeout of 50 s, no rate limit.",
            "Unpaced: limited only by one processor and 64 threads, as with PaymentsPerSecond=1000.",
        ],
    )
