"""Reconciler: settles payments whose outcome is unknown, and sends owed refunds. Runs every minute."""

from order_payments.composition import Components

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from threading import Lock
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from order_payments.domain.errors import Busy
from order_payments.domain.orders import NO_ORDER, Order
from order_payments.payments import LEASE, TIME_TO_SETTLE_SECONDS, reconcile
from order_payments.runtime.clock import Deadline, from_rfc3339, utc_now
from order_payments.runtime.metric_names import Count, Gauge
from order_payments.runtime.observability import count, gauge, logger, write_metrics
from order_payments.runtime.settings import ReconcilerSettings
from order_payments.storage.dynamodb import DYNAMODB_CALL_SECONDS
from order_payments.storage.order_writes import REFUND_SHARDS, UNSETTLED_SHARDS, refunds_are_unchanged
from order_payments.storage.orders_table import PENDING_REFUND_INTERVAL, OrdersTable
from order_payments.storage.unsettled_index import Unsettled
from order_payments.stripe_adapter.gateway import StripeGateway
from order_payments.stripe_adapter.outcomes import Unknown

BATCH_SIZE = 1250
"""Entries read from each shard at a time. All shards together have more than a run can settle in its minute."""
CONCURRENCY = 64
"""Orders settled at the same time. At half a second per order, 40 are enough for 80 orders per second."""
UNANSWERED_LIMIT = 16
"""Consecutive orders without an outcome after which the run checks whether Stripe responds."""
CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far another writer's clock may be ahead before its entries count as dated in the future."""
ORDER_TIME_LIMIT_SECONDS = TIME_TO_SETTLE_SECONDS + 2 * DYNAMODB_CALL_SECONDS + 2.0
"""Longest time for one order if neither Stripe nor DynamoDB responds: read, fence, settle, postpone. No order starts
with less time left. The function's timeout is a minute plus this time, so two runs do not work in parallel."""
RECONCILER_REPORT_SECONDS = 2.0

reconciler_settings = ReconcilerSettings.from_environment()
components = Components()
orders = components.orders
stripe = components.stripe


class EntryOutcome(StrEnum):
    """Outcome of one entry. `cleared`: nothing to settle. `left`: not settled yet, or not tried."""

    SETTLED = "settled"
    REFUNDED = "refunded"
    CLEARED = "cleared"
    LEFT = "left"
    FAILED = "failed"


@dataclass(slots=True)
class Tally:
    """Number of entries by outcome, and the age of the oldest entry that stays unsettled."""

    settled: int = 0
    refunded: int = 0
    cleared: int = 0
    left: int = 0
    failed: int = 0
    oldest_seconds: int = 0

    def count(self, outcome: EntryOutcome, age_seconds: int) -> None:
        """Count one entry of this age."""
        setattr(self, outcome, getattr(self, outcome) + 1)
        if outcome in (EntryOutcome.LEFT, EntryOutcome.FAILED):
            self.oldest_seconds = max(self.oldest_seconds, age_seconds)


class Pace:
    """Rate limiter of all threads together: spaces orders evenly, at most `per_second`."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._next = time.monotonic()
        self._lock = Lock()

    def wait(self) -> None:
        """Sleep until this thread may start an order."""
        with self._lock:
            turn = max(self._next, time.monotonic())
            self._next = turn + self._interval
        time.sleep(max(0.0, turn - time.monotonic()))


class Run:
    """One run of the reconciler. Several threads settle its entries."""

    def __init__(
        self, orders: OrdersTable, stripe: StripeGateway, *, now: datetime, deadline: Deadline, pace: Pace
    ) -> None:
        self._orders = orders
        self._stripe = stripe
        self._now = now
        self._deadline = deadline
        self._pace = pace
        self._lock = Lock()
        self._unanswered = 0
        self._is_stripe_unresponsive = False
        self._is_over = False
        self.unreadable_shards: set[str] = set()

    def batches(self) -> Iterator[list[Unsettled]]:
        """Yield batches of unsettled entries, oldest first and each entry once, until none is left or the run ends.

        Entries are read even if no time is left to settle them, so that the run reports their age.
        """
        seen: dict[str, set[str]] = {shard: set() for shard in (*UNSETTLED_SHARDS, *REFUND_SHARDS)}
        shards = list(seen)
        is_first = True
        while not self._is_over:
            batch: list[Unsettled] = []
            unfinished: list[str] = []
            for shard in shards:
                if self._deadline.remaining() < DYNAMODB_CALL_SECONDS:
                    break
                ids = seen[shard]
                # The index is eventually consistent: settled and postponed entries may still be in the result.
                limit = BATCH_SIZE + len(ids)
                try:
                    found = self._orders.unsettled.entries(shard, before=self._now - LEASE, limit=limit)
                    if len(found) == limit:
                        unfinished.append(shard)
                    if is_first and shard in UNSETTLED_SHARDS:
                        found += self._orders.unsettled.entries_ahead(
                            shard, after=self._now + CLOCK_TOLERANCE, limit=BATCH_SIZE
                        )
                except Busy:
                    logger.warning("shard read failed: database busy", shard=shard)
                    self.unreadable_shards.add(shard)
                    continue
                new = [entry for entry in found if entry.order_id not in ids]
                ids.update(entry.order_id for entry in new)
                batch += new
            if not batch:
                return
            is_first, shards = False, unfinished
            yield sorted(batch, key=attrgetter("since_text"))

    def settle(self, entry: Unsettled) -> tuple[EntryOutcome, int]:
        """Settle one order. Returns the outcome, and the order's age in seconds if it stays unsettled.

        Raises nothing. An order that was tried and stays unsettled moves to the back of the queue.
        """
        age_seconds = self._age_of(entry)
        if not self._may_start():
            return EntryOutcome.LEFT, age_seconds
        self._pace.wait()
        if not self._may_start():
            return EntryOutcome.LEFT, age_seconds
        logger.thread_safe_append_keys(orderId=entry.order_id)
        postponed_to = utc_now() - LEASE  # after all entries of this run, and due in the next one
        order_deadline = self._deadline.earlier_by(DYNAMODB_CALL_SECONDS)  # leaves time to postpone the order
        try:
            listed_since = from_rfc3339(entry.since_text)
            order = self._orders.get(entry.order_id)
            since = unsettled_since(order)
            if since is None:
                return self._clear(order), age_seconds
            # An attempt dated in the future comes from a clock that is ahead. Its lease has expired by our clock if an
            # earlier run has corrected its entry.
            is_overdue = self._is_ahead(since) and not self._is_ahead(listed_since)
            before = since if is_overdue else self._now - LEASE
            order = reconcile(order, before=before, orders=self._orders, stripe=self._stripe, deadline=order_deadline)
            since = unsettled_since(order)
            if since is None:
                self._unanswered = 0
                logger.info("payment reconciled", status=order.status, ageSeconds=age_seconds)
                return (EntryOutcome.REFUNDED if order.refunds else EntryOutcome.SETTLED), age_seconds
            if order.owed_refund is None and order.in_flight is None:
                # Stripe has accepted the refund. It takes days, and is no reason for an alarm.
                self._orders.unsettled.postpone(
                    order.order_id, to=utc_now() + PENDING_REFUND_INTERVAL, only_if=refunds_are_unchanged(order)
                )
                return EntryOutcome.LEFT, 0
            outcome, age_seconds = EntryOutcome.LEFT, max(age_seconds, seconds_between(since, self._now))
            if self._is_ahead(listed_since):
                logger.warning("unsettled entry corrected: dated in the future", unsettledSince=entry.since_text)
                postponed_to = utc_now()  # the payer may still be at work, so the lease starts now
            elif since > self._now - LEASE:
                return outcome, age_seconds
            else:
                self._check_stripe_responds(order, order_deadline)
        except Busy:
            logger.warning("payment reconciliation failed: database busy")
            outcome = EntryOutcome.FAILED
        except Exception:  # noqa: BLE001 - one order's error must not block the others
            logger.exception("payment reconciliation failed")
            count(Count.INTERNAL_ERROR)
            outcome = EntryOutcome.FAILED
        finally:
            logger.thread_safe_clear_keys()
        first_unsettled = self._orders.unsettled.postpone(entry.order_id, to=postponed_to)
        if outcome is EntryOutcome.FAILED and first_unsettled is not None:
            # Earlier runs may have postponed it, and the start time of an unreadable order is unknown.
            age_seconds = max(age_seconds, seconds_between(first_unsettled, self._now))
        return outcome, age_seconds

    def _may_start(self) -> bool:
        """Return whether another order may start. If time is short or Stripe does not respond, the run ends."""
        if self._is_stripe_unresponsive or self._deadline.remaining() < ORDER_TIME_LIMIT_SECONDS:
            self._is_over = True
        return not self._is_over

    def _clear(self, order: Order) -> EntryOutcome:
        """Remove the entry of an order with nothing to settle, which would come back in every run."""
        if not self._orders.unsettled.remove_stale(order):
            return EntryOutcome.SETTLED  # by another function, after the entry was read
        logger.warning("unsettled entry removed: nothing to settle", status=order.status)
        return EntryOutcome.CLEARED

    def _check_stripe_responds(self, order: Order, deadline: Deadline) -> None:
        """Stop the run if Stripe does not respond, because each further order would cost a timeout and a write."""
        with self._lock:
            self._unanswered += 1
            if self._unanswered < UNANSWERED_LIMIT:
                return
            self._unanswered = 0
        # Stripe may have responded each time that the payment is still processing.
        intent_id = order.owed_refund.payment_intent_id if order.owed_refund else order.payment_intent_id
        state = self._stripe.retrieve_state(
            order, intent_id or "", deadline=deadline.earlier_by(TIME_TO_SETTLE_SECONDS)
        )
        if isinstance(state, Unknown):
            self._is_stripe_unresponsive = True
            logger.warning("reconciler run stopped: stripe does not respond")

    def _is_ahead(self, moment: datetime) -> bool:
        return moment > self._now + CLOCK_TOLERANCE

    def _age_of(self, entry: Unsettled) -> int:
        """Return the entry's age in seconds, or 0 if it is dated in the future or has no readable time."""
        try:
            return max(0, seconds_between(from_rfc3339(entry.since_text), self._now))
        except ValueError:
            return 0


def reconcile_payments(orders: OrdersTable, stripe: StripeGateway, *, now: datetime, deadline: Deadline) -> Tally:
    """Settle the orders that are unsettled for longer than the lease at `now`, oldest first, until `deadline`."""
    tally = Tally()
    run = Run(orders, stripe, now=now, deadline=deadline, pace=Pace(reconciler_settings.orders_per_second))
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="reconcile") as pool:
        for batch in run.batches():
            for outcome, age_seconds in pool.map(run.settle, batch):
                tally.count(outcome, age_seconds)
    tally.failed += len(run.unreadable_shards)
    return tally


def seconds_between(since: datetime, now: datetime) -> int:
    """Return the whole seconds from `since` to `now`."""
    return int((now - since).total_seconds())


def unsettled_since(order: Order) -> datetime | None:
    """Return when the order's attempt started or its refund was requested, or None if there is nothing to settle."""
    if order.in_flight:
        return order.in_flight.started_at
    waiting = [order.owed_refund] if order.owed_refund else order.unfinished_refunds
    return min((refund.created_at for refund in waiting), default=None)


def handler(_: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Run the reconciler and return its tally."""
    with logger.append_context_keys(requestId=context.aws_request_id):
        deadline = Deadline.after(context.get_remaining_time_in_millis() / 1000 - RECONCILER_REPORT_SECONDS)
        tally = reconcile_payments(orders, stripe, now=utc_now(), deadline=deadline)
        logger.info(
            "reconciler run completed",
            settled=tally.settled,
            refunded=tally.refunded,
            cleared=tally.cleared,
            left=tally.left,
            failed=tally.failed,
            oldestSeconds=tally.oldest_seconds,
        )
        count(Count.PAYMENT_RECONCILED, tally.settled)
        count(Count.RECONCILIATION_FAILED, tally.failed)
        gauge(Gauge.OLDEST_UNSETTLED, tally.oldest_seconds)
        write_metrics()
        return asdict(tally)


components.finish_start(warm_up=lambda: orders.get(NO_ORDER))
