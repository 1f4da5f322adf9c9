"""Each rule of the protocol is needed, and these tests would see it gone.

Each mutant takes one rule out of the code: a story that the service as designed brings to a good end has to break an
invariant without its rule.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from order_payments.domain.orders import Order, OrderStatus
from order_payments.stripe_adapter.retries import RATE_LIMITED_TRIES
from tests.support.fault_injection import Effect, fail_in_turn, inject_faults, stripe_connection_error, stripe_response
from tests.support.mutants import MUTANTS
from tests.support.world import World

PRODUCT = "tea"
RATE_LIMIT = '{"error":{"type":"invalid_request_error","code":"rate_limit","message":"no"}}'


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def world(world: World) -> World:
    world.add_product(PRODUCT, 5)
    return world


def before(collaborator: object, method: str, happens: Callable[[], Any]) -> None:
    """Let something happen right before the next call of a collaborator's `method`."""
    original = getattr(collaborator, method)

    def call(*args: Any, **kwargs: Any) -> Any:
        setattr(collaborator, method, original)
        happens()
        return original(*args, **kwargs)

    setattr(collaborator, method, call)


def killed_after(collaborator: object, method: str) -> None:
    """Let the process die once the next call of a collaborator's `method` has taken its effect."""
    original = getattr(collaborator, method)

    def call(*args: Any, **kwargs: Any) -> Any:
        original(*args, **kwargs)
        raise Killed

    setattr(collaborator, method, call)


@contextmanager
def dead_at_the_next_transaction(world: World) -> Iterator[None]:
    """Let the process die when the service is about to send a transaction."""

    def die(**_: Any) -> None:
        raise Killed

    world.service.meta.events.register("before-call.dynamodb.TransactWriteItems", die)
    yield
    world.service.meta.events.unregister("before-call.dynamodb.TransactWriteItems", die)


def rival(world: World) -> World:
    """Somebody else in the same world, whom nothing is done to."""
    return World(world.service, world.fault_free)


def place(world: World) -> Order:
    return world.place({PRODUCT: 1})


def a_payer_is_overtaken_by_the_reconciler_and_dies(world: World) -> None:
    order, payer = place(world), rival(world)
    killed_after(payer.stripe, "confirm")
    before(payer.stripe, "confirm", world.reconcile)
    with pytest.raises(Killed):
        payer.pay(order)


def two_payers_read_the_same_unpaid_order(world: World) -> None:
    order, slower = place(world), rival(world)
    before(slower.orders, "claim", lambda: world.pay(order))
    slower.pay(order)


def a_charge_whose_answer_is_lost(world: World) -> None:
    world.pay(place(world), "pm_dummy_timeout_after_charge")


def a_payer_and_the_reconciler_settle_the_same_charge(world: World) -> None:
    order, payer = place(world), rival(world)
    before(payer.orders, "settle_confirmed", world.reconcile)
    payer.pay(order)


def a_payer_dies_before_the_claim_and_an_admin_cancels(world: World) -> None:
    order = place(world)
    with dead_at_the_next_transaction(world), pytest.raises(Killed):
        world.pay(order)
    world.override(order, OrderStatus.CANCELLED)


def an_admin_decides_while_the_buyer_pays(world: World) -> None:
    order, admin = place(world), rival(world)
    before(admin.orders, "settle_by_hand", lambda: world.pay(order))
    admin.override(order, OrderStatus.CANCELLED)


def an_admin_cancels_after_a_lost_reply_and_rate_limits(world: World) -> None:
    order = place(world)
    rate_limits = [stripe_response(Effect.NONE, 429, RATE_LIMIT)] * RATE_LIMITED_TRIES
    with inject_faults(world, fail_in_turn("confirm", stripe_connection_error(Effect.DONE), *rate_limits)):
        world.pay(order)
    world.override(order, OrderStatus.CANCELLED)


Story = Callable[[World], None]

STORIES: Mapping[str, tuple[Story, str]] = {
    "no_fence": (a_payer_is_overtaken_by_the_reconciler_and_dies, "is cancelled, and its charge kept"),
    "claim_unconditional": (two_payers_read_the_same_unpaid_order, "1 held, not 0"),
    "timeout_is_decline": (a_charge_whose_answer_is_lost, "is cancelled, and its charge kept"),
    "settle_unconditional": (a_payer_and_the_reconciler_settle_the_same_charge, "for sale|2 gone, 1 sold"),
    "confirm_before_claim": (a_payer_dies_before_the_claim_and_an_admin_cancels, "is cancelled, and its charge kept"),
    "override_unconditional": (an_admin_decides_while_the_buyer_pays, "1 gone, 0 sold"),
    "lost_try_counts_as_rate_limited": (
        an_admin_cancels_after_a_lost_reply_and_rate_limits,
        "is cancelled, and its charge kept",
    ),
}
"""By the rule that it needs: a story, and what is wrong in the end without the rule."""


def test_each_rule_has_a_story() -> None:
    assert set(STORIES) == set(MUTANTS)


@pytest.mark.parametrize("rule", STORIES)
def test_the_protocol_as_designed_keeps_the_invariants(world: World, rule: str) -> None:
    story, _ = STORIES[rule]

    story(world)

    world.check_invariants()
    world.reconcile()
    world.check_settled()


@pytest.mark.parametrize("rule", MUTANTS)
def test_without_its_rule_an_invariant_breaks_for_good(
    world: World, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    story, wrong = STORIES[rule]
    MUTANTS[rule](monkeypatch, world)

    story(world)

    with pytest.raises(AssertionError, match=wrong):
        world.check_invariants()
    world.reconcile()
    with pytest.raises(AssertionError, match=wrong):
        world.check_settled()
