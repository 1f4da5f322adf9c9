"""Retry budgets: how long each step retries after contention or throttling of DynamoDB, and the backoff.

Measured in docs/performance.md, "Hot product". Retries of Stripe calls are in `stripe_adapter/retries.py`.
"""

import random
import time
from collections.abc import Iterator

from order_payments.runtime.clock import Deadline

CLAIM_BUDGET_SECONDS = 3.0
SETTLE_BUDGET_SECONDS = 4.0
PRODUCT_BUDGET_SECONDS = 3.0
ORDER_PAGE_BUDGET_SECONDS = 3.0
AUDIT_READ_BUDGET_SECONDS = 5.0

BACKOFF_FIRST_SECONDS = 0.05
"""Its average pause is longer than a transaction holds its items, which is 5 to 20 ms."""

BACKOFF_LONGEST_SECONDS = 0.15
"""Short enough for dozens of attempts in a budget, and long enough that rejected attempts do not use up an item's
throughput."""


def retry_until(deadline: Deadline) -> Iterator[None]:
    """Yield once, and again after each random pause, until `deadline`. The limit of the pauses grows.

    Full jitter: https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """
    longest_pause = BACKOFF_FIRST_SECONDS
    while True:
        yield
        pause = random.uniform(0, longest_pause)  # noqa: S311 - spreads load; nothing to guess
        if deadline.remaining() < pause:
            return
        time.sleep(pause)
        longest_pause = min(2 * longest_pause, BACKOFF_LONGEST_SECONDS)
