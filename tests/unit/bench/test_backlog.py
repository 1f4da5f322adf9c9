"""The reconciler's run loop settles a backlog in time, within Stripe's rate, and tries few orders in an outage."""

from types import ModuleType

import pytest

from bench.backlog import FORMER_POLICY, OUTAGE_RUN_LIMIT, Point, count_orders_tried_in_outage, deployed_policy, drain
from harness.functions import load_function

PEAK = 10


@pytest.fixture
def reconciler() -> ModuleType:
    return load_function("reconcile_payments")


@pytest.mark.slow
@pytest.mark.parametrize(("paid_percent", "calls_of_an_order"), [(0, 1), (100, 2)])
def test_backlog_is_settled_in_time_within_the_share_of_stripes_rate(
    reconciler: ModuleType, paid_percent: int, calls_of_an_order: int
) -> None:
    outcome = drain(reconciler, Point(PEAK, paid_percent, deployed_policy(reconciler, PEAK)))

    assert sum(outcome.settled) == 10 * 60 * PEAK
    assert outcome.seconds <= 15 * 60
    assert outcome.most_calls_per_second <= 0.8 * PEAK * calls_of_an_order


@pytest.mark.slow
def test_model_matches_the_measured_former_reconciler(reconciler: ModuleType) -> None:
    # Measured: 336 orders per run.
    assert drain(reconciler, Point(PEAK, 0, FORMER_POLICY)).settled[0] == pytest.approx(336, rel=0.05)


def test_run_tries_few_orders_while_stripe_does_not_respond(reconciler: ModuleType) -> None:
    assert count_orders_tried_in_outage(reconciler) <= OUTAGE_RUN_LIMIT
