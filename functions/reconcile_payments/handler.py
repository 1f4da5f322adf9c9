"""Every minute: bring the payments to their end whose outcome was left unknown."""

from order_payments.start_up import started

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from operator import attrgetter
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from order_payments.clock import Deadline, from_rfc3339, utc_now
from order_payments.dynamodb import LONGEST_CALL_SECONDS, dynamodb_client
from order_payments.errors import Busy
from order_payments.observability import Count, Gauge, count, gauge, logger, write_metrics
from order_payments.orders import NO_ORDER, Order, OrderStatus
from order_payments.orders_table import UNSETTLED_SHARDS, OrdersTable, Unsettled
from order_payments.payments import LEASE, TIME_TO_SETTLE_SECONDS, reconcile
from order_payments.products_table import ProductsTable
from order_payments.settings import StripeSettings, TableSettings
from order_payments.stripe_gateway import StripeGateway, stripe_gateway

BATCH = 32
CONCURRENCY = 8
TIME_FOR_ONE_SECONDS = TIME_TO_SETTLE_SECONDS + 2 * LONGEST_CALL_SECONDS + 2.0
"""What one order may take where neither Stripe nor DynamoDB answers: it is read, fenced, settled and put behind the
others. With less left, the next run goes on."""
TIME_TO_REPORT_SECONDS = 2.0

settings = TableSettings.from_environment()
stripe_settings = StripeSettings.from_environment()
client = dynamodb_client()
orders = OrdersTable(client, settings.orders_table, ProductsTable(client, settings.products_table))
stripe = stripe_gateway(stripe_settings, client)


class End(StrEnum):
    """How the look at an order ended: `left` where Stripe does not tell, or where the time was up."""

    SETTLED = "settled"
    REFUNDED = "refunded"
    LEFT = "left"
    FAILED = "failed"


@dataclass(slots=True)
class Tally:
    """How many orders a run settled, refunded, left and failed at; and the age of the oldest that stays unsettled."""

    settled: int = 0
    refunded: int = 0
    left: int = 0
    failed: int = 0
    oldest_seconds: int = 0

    def count(self, end: End, age_seconds: int) -> None:
        """Count one order, which was left unsettled so long ago."""
        setattr(self, end, getattr(self, end) + 1)
        if end in (End.LEFT, End.FAILED):
            self.oldest_seconds = max(self.oldest_seconds, age_seconds)


def reconcile_payments(orders: OrdersTable, stripe: StripeGateway, *, now: datetime, deadline: Deadline) -> Tally:
    """Settle all that is unsettled for longer than the lease at `now`, until `deadline`, the oldest first."""
    tally = Tally()
    settle = partial(settle_one, orders=orders, stripe=stripe, now=now, deadline=deadline)
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="reconcile") as pool:
        for batch in batches(orders, tally, before=now - LEASE, deadline=deadline):
            for end, age_seconds in pool.map(settle, batch):
                tally.count(end, age_seconds)
    return tally


def batches(orders: OrdersTable, tally: Tally, *, before: datetime, deadline: Deadline) -> Iterator[list[Unsettled]]:
    """What is unsettled since `before`, each order once, while there is time: some of every shard, the oldest first."""
    seen: dict[str, set[str]] = {shard: set() for shard in UNSETTLED_SHARDS}
    not_seen: set[str] = set()
    while True:
        batch: list[Unsettled] = []
        for shard, ids in seen.items():
            if deadline.remaining() < TIME_FOR_ONE_SECONDS:
                break
            try:
                # What was settled or postponed leaves this query, if with a delay: the index follows the table.
                found = orders.unsettled(shard, before=before, limit=BATCH + len(ids))
            except Busy:
                logger.warning("some attempts could not be looked for, left to the next run", shard=shard)
                if shard not in not_seen:
                    tally.count(End.FAILED, 0)
                not_seen.add(shard)
                continue
            new = [entry for entry in found if entry.order_id not in ids][:BATCH]
            ids.update(entry.order_id for entry in new)
            batch += new
        if not batch:
            return
        yield sorted(batch, key=attrgetter("since_text"))


def settle_one(
    entry: Unsettled, *, orders: OrdersTable, stripe: StripeGateway, now: datetime, deadline: Deadline
) -> tuple[End, int]:
    """Bring one order to its end. Returns how that ended, and for how many seconds the order was unsettled by then.

    Raises nothing. What stays unsettled goes behind the others.
    """
    logger.thread_safe_append_keys(orderId=entry.order_id)
    age_seconds = 0
    try:
        age_seconds = seconds_between(from_rfc3339(entry.since_text), now)
        if deadline.remaining() < TIME_FOR_ONE_SECONDS:
            return End.LEFT, age_seconds
        by = deadline.sooner(LONGEST_CALL_SECONDS)  # to put it behind the others
        order = reconcile(entry.order_id, before=now - LEASE, orders=orders, stripe=stripe, deadline=by)
        since = unsettled_since(order)
        if since is None:
            logger.info("payment reconciled", status=order.status, ageSeconds=age_seconds)
            return (End.REFUNDED if order.refund else End.SETTLED), age_seconds
        end, age_seconds = End.LEFT, seconds_between(since, now)
        if since > now - LEASE:
            return end, age_seconds
    except Busy:
        logger.warning("the database is busy, left to the next run")
        end = End.FAILED
    except Exception:  # noqa: BLE001 - whatever is wrong with one order, the others are not to wait for it
        logger.exception("payment could not be reconciled")
        count(Count.INTERNAL_ERROR)
        end = End.FAILED
    finally:
        logger.thread_safe_clear_keys()
    # Behind all that this run could find, and still in sight of the next.
    first = orders.postpone(entry.order_id, to=utc_now() - LEASE)
    if end is End.FAILED and first is not None:
        # Earlier runs have put it off, too, and the order itself may not say since when it waits.
        age_seconds = max(age_seconds, seconds_between(first, now))
    return end, age_seconds


def seconds_between(since: datetime, now: datetime) -> int:
    """Whole seconds from `since` to `now`."""
    return int((now - since).total_seconds())


def unsettled_since(order: Order) -> datetime | None:
    """Since when the order is unsettled, if it is."""
    if order.owes_refund and order.refund is not None:
        return order.refund.owed_since
    if order.status is OrderStatus.PENDING and order.attempt is not None:
        return order.attempt.started_at
    return None


def handler(_: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """The function's entry point. Returns the tally."""
    with logger.append_context_keys(requestId=context.aws_request_id):
        deadline = Deadline.after(context.get_remaining_time_in_millis() / 1000 - TIME_TO_REPORT_SECONDS)
        tally = reconcile_payments(orders, stripe, now=utc_now(), deadline=deadline)
        logger.info(
            "reconciled",
            settled=tally.settled,
            refunded=tally.refunded,
            left=tally.left,
            failed=tally.failed,
            oldestSeconds=tally.oldest_seconds,
        )
        count(Count.PAYMENT_RECONCILED, tally.settled)
        count(Count.RECONCILIATION_FAILED, tally.failed)
        gauge(Gauge.OLDEST_UNSETTLED, tally.oldest_seconds)
        write_metrics()
        return asdict(tally)


started(client, rehearsal=lambda: orders.get(NO_ORDER))
