"""Results of clients and buyers, and the plan of the contention benchmark."""

from collections import Counter

import pytest

from bench.contention import BUSY, CHOSEN, POLICIES, Outcome, Point, plan
from bench.throughput import Rate, Round, TimedResponse
from order_payments.runtime import retry_budgets


def test_rate_counts_only_confirmed_payments() -> None:
    responses = [
        TimedResponse(200, 10, 11),
        TimedResponse(503, 10.5, 10.6),
        TimedResponse(200, 11, 12),
        TimedResponse(200, 12, 14),
    ]

    rate = Rate.of(Round(responses, processor_seconds=1))

    assert rate.payments_per_second == pytest.approx(3 / 4)
    assert rate.busy_percent == 25
    assert (rate.p50_ms, rate.p99_ms) == (1000, 2000)


@pytest.mark.parametrize("status", [202, 404, 500])
def test_unexpected_status_fails_the_rate(status: int) -> None:
    with pytest.raises(RuntimeError, match=str(status)):
        Rate.of(Round([TimedResponse(200, 0, 1), TimedResponse(status, 0, 1)], processor_seconds=0))


def test_outcome_has_shares_transactions_and_latencies() -> None:
    outcome = Outcome(
        Counter({"confirmed": 150, BUSY: 50}),
        latencies=[number / 100 for number in range(200)],
        transactions=Counter({"let in": 300, "rejected": 500}),
        seconds=10,
    )

    assert (outcome.share(BUSY), outcome.share("pending")) == (25, 0)
    assert (outcome.transactions_per_payment, outcome.transactions_per_second, outcome.confirmed_per_second) == (
        4,
        80,
        15,
    )
    assert (outcome.latency(50), outcome.latency(99)) == (1.0, 1.98)


def test_policy_applies_within_the_block_and_is_restored() -> None:
    def current() -> tuple[float, ...]:
        return (
            retry_budgets.BACKOFF_FIRST_SECONDS,
            retry_budgets.BACKOFF_LONGEST_SECONDS,
            retry_budgets.CLAIM_BUDGET_SECONDS,
            retry_budgets.SETTLE_BUDGET_SECONDS,
        )

    original = current()
    with POLICIES["untuned"].apply():
        assert current() == (0.025, 0.4, 2, 3)

    assert current() == original == (CHOSEN.first, CHOSEN.longest, CHOSEN.claim, CHOSEN.settle)


@pytest.mark.parametrize("quick", [True, False])
def test_plan_has_each_documented_point_once(quick: bool) -> None:
    points = plan(quick=quick)

    assert len(points) == len(set(points))
    assert {Point(8), Point(32), Point(64), Point(32, policy="untuned"), Point(32, hold_ms=20)} <= set(points)
