"""Every minute: bring the payments to their end whose outcome was left unknown."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from order_payments.clock import Deadline, utc_now
from order_payments.dynamodb import dynamodb_client
from order_payments.errors import Busy
from order_payments.observability import logger
from order_payments.orders import Order, OrderStatus
from order_payments.orders_table import UNSETTLED_SHARDS, OrdersTable, Unsettled
from order_payments.payments import LEASE, reconcile
from order_payments.products_table import ProductsTable
from order_payments.settings import StripeSettings, TableSettings
from order_payments.stripe_gateway import StripeGateway, stripe_gateway

BATCH = 32
CONCURRENCY = 8
TIME_FOR_A_BATCH_SECONDS = 20.0
"""What a batch may take if Stripe hardly answers; with less left, the next run goes on."""

settings = TableSettings.from_environment()
stripe_settings = StripeSettings.from_environment()
client = dynamodb_client()
orders = OrdersTable(client, settings.orders_table, ProductsTable(client, settings.products_table))
stripe = stripe_gateway(stripe_settings, client)


@dataclass(slots=True)
class Tally:
    """What a run did: payments settled, left for later (Stripe does not tell), and failed; and the oldest of those."""

    settled: int = 0
    left: int = 0
    failed: int = 0
    oldest_seconds: int = 0

    def stays(self, since: datetime) -> None:
        """Note that an attempt which began at `since` is still unsettled."""
        self.oldest_seconds = max(self.oldest_seconds, int((utc_now() - since).total_seconds()))


def reconcile_payments(orders: OrdersTable, stripe: StripeGateway, *, now: datetime, deadline: Deadline) -> Tally:
    """Settle all attempts that are older than the lease at `now`, until `deadline`, the oldest of each shard first."""
    tally = Tally()
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="reconcile") as pool:
        settle = partial(settle_one, orders=orders, stripe=stripe, deadline=deadline)
        for batch in batches(orders, before=now - LEASE, deadline=deadline):
            for entry, outcome in zip(batch, pool.map(settle, batch), strict=True):
                match outcome:
                    case None:
                        tally.failed += 1
                        tally.stays(entry.since)
                    case Order() if since := unsettled_since(outcome):
                        tally.left += 1
                        tally.stays(since)
                    case Order():
                        tally.settled += 1
    return tally


def batches(orders: OrdersTable, *, before: datetime, deadline: Deadline) -> Iterator[list[Unsettled]]:
    """What is unsettled since `before`, each order once, while there is time for a batch."""
    # In random order, so that where time runs out it is not always the same that wait.
    for shard in random.sample(UNSETTLED_SHARDS, len(UNSETTLED_SHARDS)):
        seen: set[str] = set()
        while deadline.remaining() > TIME_FOR_A_BATCH_SECONDS:
            # What was settled or postponed leaves this query, if with a delay: the index follows the table.
            found = orders.unsettled(shard, before=before, limit=BATCH + len(seen))
            batch = [entry for entry in found if entry.order_id not in seen][:BATCH]
            if not batch:
                break
            seen.update(entry.order_id for entry in batch)
            yield batch


def settle_one(entry: Unsettled, *, orders: OrdersTable, stripe: StripeGateway, deadline: Deadline) -> Order | None:
    """The order as it is recorded in the end; None where that failed, which must not keep the others from theirs."""
    logger.thread_safe_append_keys(orderId=entry.order_id)
    try:
        order = reconcile(entry.order_id, orders=orders, stripe=stripe, deadline=deadline)
        if unsettled_since(order):
            orders.postpone(entry.order_id, now=utc_now())
    except Busy:
        logger.warning("the database is busy, left to the next run")
        return None
    except Exception:  # noqa: BLE001 - whatever is wrong with one attempt, the others are not to wait for it
        logger.exception("payment could not be reconciled")
        return None
    else:
        return order
    finally:
        logger.thread_safe_clear_keys()


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
        deadline = Deadline.after(context.get_remaining_time_in_millis() / 1000)
        tally = reconcile_payments(orders, stripe, now=utc_now(), deadline=deadline)
        logger.info(
            "reconciled",
            settled=tally.settled,
            left=tally.left,
            failed=tally.failed,
            oldestSeconds=tally.oldest_seconds,
        )
        return asdict(tally)
