"""Mutation tests of the payment protocol.

Each mutant removes one rule. A scenario that keeps the invariants with the rule must break one without it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from order_payments import payments
from order_payments.domain.orders import Order, OrderStatus
from order_payments.runtime.clock import utc_now
from order_payments.stripe_adapter.retries import MAXIMUM_RATE_LIMITED_TRIES
from tests.support.fault_injection import (
    Effect,
    fail_in_turn,
    inject_faults,
    run_before,
    stripe_connection_error,
    stripe_response,
)
from tests.support.mutants import MUTANTS
from tests.support.world import VALID_FOR, World

PRODUCT = "tea"
RATE_LIMIT = '{"error":{"type":"invalid_request_error","code":"rate_limit","message":"no"}}'


class Killed(BaseException):
    """Simulates the death of the process."""


@pytest.fixture
def world(world: World) -> World:
    world.add_product(PRODUCT, 5)
    return world


def kill_after(collaborator: object, method: str) -> None:
    """Kill the process after the next call of a collaborator's `method` has taken effect."""
    original = getattr(collaborator, method)

    def call(*args: Any, **kwargs: Any) -> Any:
        original(*args, **kwargs)
        raise Killed

    setattr(collaborator, method, call)


@contextmanager
def kill_at_next_transaction(world: World) -> Iterator[None]:
    """Kill the process before the service sends a transaction."""

    def die(**_: Any) -> None:
        raise Killed

    world.service.meta.events.register("before-call.dynamodb.TransactWriteItems", die)
    yield
    world.service.meta.events.unregister("before-call.dynamodb.TransactWriteItems", die)


def second_world(world: World) -> World:
    """Return another world on the same tables, without its patches."""
    return World(world.service, world.fault_free)


def place(world: World) -> Order:
    return world.place({PRODUCT: 1})


def pay(world: World, card: str = "pm_card_visa") -> Order:
    order = place(world)
    world.pay(order, card)
    return order


def kill_payer_overtaken_by_reconciler(world: World) -> None:
    order, payer = place(world), second_world(world)
    kill_after(payer.stripe, "confirm")
    run_before(payer.stripe, "confirm", world.reconcile)
    with pytest.raises(Killed):
        payer.pay(order)


def pay_twice_at_once(world: World) -> None:
    order, slower = place(world), second_world(world)
    run_before(slower.orders, "claim", lambda: world.pay(order))
    slower.pay(order)


def lose_charge_response(world: World) -> None:
    world.pay(place(world), "pm_dummy_timeout_after_charge")


def settle_charge_twice_at_once(world: World) -> None:
    order, payer = place(world), second_world(world)
    run_before(payer.orders, "settle_confirmed", world.reconcile)
    payer.pay(order)


def kill_payer_before_claim_and_cancel(world: World) -> None:
    order = place(world)
    with kill_at_next_transaction(world), pytest.raises(Killed):
        world.pay(order)
    world.override(order, OrderStatus.CANCELLED)


def override_during_payment(world: World) -> None:
    order, admin = place(world), second_world(world)
    run_before(admin.orders, "settle_by_hand", lambda: world.pay(order))
    admin.override(order, OrderStatus.CANCELLED)


def pay_in_time_and_too_late_at_once(world: World) -> None:
    order, late = world.place({PRODUCT: 1}, at=utc_now() - VALID_FOR), second_world(world)

    def pay_in_time() -> None:
        with patch.object(payments, "utc_now", lambda: order.created_at):
            world.pay(order)

    run_before(late.orders, "cancel_unclaimed", pay_in_time)
    late.pay(order)


def cancel_after_lost_reply_and_rate_limits(world: World) -> None:
    order = place(world)
    rate_limits = [stripe_response(Effect.NONE, 429, RATE_LIMIT)] * MAXIMUM_RATE_LIMITED_TRIES
    with inject_faults(world, fail_in_turn("confirm", stripe_connection_error(Effect.DONE), *rate_limits)):
        world.pay(order)
    world.override(order, OrderStatus.CANCELLED)


def refund_twice_at_once(world: World) -> None:
    order, slower = pay(world), second_world(world)
    run_before(slower.orders, "owe_refund", lambda: world.refund(order, 3000))
    slower.refund(order, 3000)


def restock_twice_at_once(world: World) -> None:
    order, slower = pay(world), second_world(world)
    run_before(slower.orders, "record_refund", world.reconcile)
    slower.refund(order, 3000, restock={PRODUCT: 1})


def lose_refund_response(world: World) -> None:
    order = pay(world)
    with inject_faults(world, fail_in_turn("refund", stripe_connection_error(Effect.DONE))):
        world.refund(order, 1000)


def refund_disputed_charge(world: World) -> None:
    world.refund(pay(world, "pm_card_createDispute"), 1000)


Scenario = Callable[[World], None]

SCENARIOS: Mapping[str, tuple[Scenario, str]] = {
    "no_fence": (kill_payer_overtaken_by_reconciler, "is cancelled, and its charge kept"),
    "claim_unconditional": (pay_twice_at_once, "1 held, not 0"),
    "timeout_is_decline": (lose_charge_response, "is cancelled, and its charge kept"),
    "settle_unconditional": (settle_charge_twice_at_once, "for sale|2 gone, 1 sold"),
    "confirm_before_claim": (kill_payer_before_claim_and_cancel, "is cancelled, and its charge kept"),
    "override_unconditional": (override_during_payment, "1 gone, 0 sold"),
    "expiry_unconditional": (pay_in_time_and_too_late_at_once, "1 gone, 0 sold"),
    "lost_try_counts_as_rate_limited": (
        cancel_after_lost_reply_and_rate_limits,
        "is cancelled, and its charge kept",
    ),
    "refund_unconditional": (refund_twice_at_once, "3000 returned, and only 0 recorded"),
    "restock_apart": (restock_twice_at_once, "-1 gone, 0 sold"),
    "random_refund_key": (lose_refund_response, "2000 returned, and only 1000 recorded"),
    "refused_refund_is_retried": (refund_disputed_charge, "owe a refund"),
}
"""By rule: a scenario, and the violation that it ends with without the rule."""

ENDLESS = {"refused_refund_is_retried"}
"""The rules without which nothing wrong is done, and the reconciler never ends."""


def test_each_rule_has_a_scenario() -> None:
    assert set(SCENARIOS) == set(MUTANTS)


@pytest.mark.parametrize("rule", SCENARIOS)
def test_protocol_keeps_the_invariants(world: World, rule: str) -> None:
    scenario, _ = SCENARIOS[rule]

    scenario(world)

    world.check_invariants()
    world.reconcile()
    world.check_settled()


@pytest.mark.parametrize("rule", MUTANTS)
def test_mutant_without_the_rule_breaks_an_invariant(world: World, monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    scenario, violation = SCENARIOS[rule]
    MUTANTS[rule](monkeypatch, world)

    scenario(world)

    if rule not in ENDLESS:
        with pytest.raises(AssertionError, match=violation):
            world.check_invariants()
    world.reconcile()
    with pytest.raises(AssertionError, match=violation):
        world.check_settled()
