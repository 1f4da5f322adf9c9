"""The reconciler's run loop against a backlog: in minutes, at its pace, and cheap while Stripe does not respond."""

from types import ModuleType

import pytest

from bench.backlog import BEFORE, HANGING_RUN_LIMIT, Point, chosen, drain, orders_tried_while_stripe_hangs
from harness.functions import load_function

PEAK = 10


@pytest.fixture
def reconciler() -> ModuleType:
    return load_function("reconcile_payments")


@pytest.mark.slow
@pytest.mark.parametrize(("paid_percent", "calls_of_an_order"), [(0, 1), (100, 2)])
def test_backlog_of_ten_minutes_is_settled_in_fifteen_within_its_share_of_stripes_rate(
    reconciler: ModuleType, paid_percent: int, calls_of_an_order: int
) -> None:
    outcome = drain(reconciler, Point(PEAK, paid_percent, chosen(reconciler, PEAK)))

    assert sum(outcome.settled) == 10 * 60 * PEAK
    assert outcome.seconds <= 15 * 60
    assert outcome.most_calls_per_second <= 0.8 * PEAK * calls_of_an_order


@pytest.mark.slow
def test_model_of_the_former_reconciler_settles_what_it_settled(reconciler: ModuleType) -> None:
    # 336 orders per run, as it was measured.
    assert drain(reconciler, Point(PEAK, 0, BEFORE)).settled[0] == pytest.approx(336, rel=0.05)


def test_run_tries_few_orders_while_stripe_does_not_respond(reconciler: ModuleType) -> None:
    assert orders_tried_while_stripe_hangs(reconciler) <= HANGING_RUN_LIMIT
