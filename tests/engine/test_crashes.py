"""The process dies at any of its requests, before that takes effect or after; so does the reconciler that repairs it.

Each story lists its requests, and a test compares the list with the requests that are made. The story is repeated and
killed at each of its requests, by name, and a reconciler at each of its own. The next reconciler must then bring the
order to the end that its charge asks for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import pytest
import stripe

from dummy_stripe.http_client import DummyStripeHTTPClient
from harness.dynamodb_local import client_of
from order_payments import payments
from order_payments.domain.errors import InsufficientStock
from order_payments.domain.orders import Order, OrderStatus
from order_payments.runtime.clock import Deadline
from order_payments.storage.orders_table import UNSETTLED_SHARDS
from tests.support.fault_injection import Effect, Killed, Plan, inject_faults, kill_at, reset_world
from tests.support.world import World

MOMENTS = (Effect.NONE, Effect.DONE)
IN_STOCK = 500


@dataclass(frozen=True)
class Story:
    """A payment with a card: its requests, and the one that charges the card, if any."""

    card: str
    requests: tuple[str, ...]
    charging: str | None = None
    quantity: int = 2


# Stripe's SDK sends the confirmation twice if the outcome is unknown.
STORIES = {
    "paid": Story("pm_card_visa", ("read", "create", "claim", "confirm", "settle confirmed"), charging="confirm"),
    "declined": Story("pm_card_chargeDeclined", ("read", "create", "claim", "confirm", "cancel", "settle cancelled")),
    "requires action": Story(
        "pm_card_authenticationRequired", ("read", "create", "claim", "confirm", "cancel", "settle cancelled")
    ),
    "short of stock": Story(
        "pm_card_visa", ("read", "create", "claim", "cancel unclaimed", "cancel"), quantity=IN_STOCK + 1
    ),
    "refused payment method": Story("pm_unknown", ("read", "create", "claim", "confirm", "void")),
    "unknown and charged": Story(
        "pm_dummy_timeout_after_charge", ("read", "create", "claim", "confirm", "confirm 2"), charging="confirm"
    ),
    "unknown and not charged": Story(
        "pm_dummy_timeout_before_charge", ("read", "create", "claim", "confirm", "confirm 2")
    ),
}


@dataclass(frozen=True)
class Repair:
    """A reconciler at work on a payment of unknown outcome: what it asks, and how the order is then."""

    card: str
    requests: tuple[str, ...]
    end: OrderStatus


REPAIRS = {
    "charged": Repair(
        "pm_dummy_timeout_after_charge", ("read", "cancel", "retrieve", "settle confirmed"), OrderStatus.CONFIRMED
    ),
    "not charged": Repair(
        "pm_dummy_timeout_before_charge", ("read", "cancel", "settle cancelled"), OrderStatus.CANCELLED
    ),
    "processing": Repair("pm_dummy_processing", ("read", "cancel", "retrieve"), OrderStatus.PENDING),
}
SWEEP = len(UNSETTLED_SHARDS)
"""The questions by which a reconciler finds what is unsettled, before, between and after what it does about it."""

OVERRIDE = ("read", "settle by hand")
LATE_MONEY = {
    OrderStatus.CANCELLED: ("read", "retrieve", "owe refund", "refund", "record refund"),
    OrderStatus.CONFIRMED: ("read", "retrieve", "owe refund", "refund", "record refund"),
    OrderStatus.PENDING: ("read", "retrieve", "claim", "settle confirmed"),
}
"""What news of a charge leads to that nobody knew of, by how the order is meanwhile."""


def each(stories: dict[Any, tuple[str, ...]]) -> list[Any]:
    """Return parameters: each request of each story, by the names of both."""
    return [
        pytest.param(name, request, id=f"{name}-{request}")
        for name, requests in stories.items()
        for request in requests
    ]


PAYMENT_DEATHS = each({name: story.requests for name, story in STORIES.items()})
REPAIR_DEATHS = each({name: repair.requests for name, repair in REPAIRS.items()})
OVERRIDES = (OrderStatus.CONFIRMED, OrderStatus.CANCELLED)


@pytest.fixture(scope="module")
def tables(engine: str) -> World:
    return World.fresh(client_of(engine), client_of(engine))


@pytest.fixture
def world(tables: World) -> World:
    world = reset_world(tables)
    world.add_product("tea", IN_STOCK)
    return world


@pytest.mark.parametrize("name", STORIES)
def test_a_payment_makes_the_requests_that_are_killed_here(world: World, name: str) -> None:
    story = STORIES[name]
    order = world.place({"tea": story.quantity})

    assert requests_of(world, lambda: world.pay(order, story.card)) == story.requests


@pytest.mark.parametrize(("name", "request_"), PAYMENT_DEATHS)
def test_a_killed_payment_ends_well_wherever_its_reconciler_is_killed_too(
    world: World, name: str, request_: str
) -> None:
    story = STORIES[name]

    def crashed(effect: Effect) -> Order:
        order = world.place({"tea": story.quantity})
        assert dies(world, kill_at(request_, effect), lambda: world.pay(order, story.card))
        return order

    # A death before a request leaves the same state as one after the request before it, where reconcilers are killed.
    crashes = {
        Effect.NONE: [crashed(Effect.NONE)],
        Effect.DONE: with_killed_reconcilers(world, partial(crashed, Effect.DONE)),
    }
    world.check_invariants()
    world.reconcile()

    world.check_settled()
    number = story.requests.index(request_)
    for effect, orders in crashes.items():
        check_end(world, story, story.requests[: number + (effect is Effect.DONE)], orders)
    world.check_settled()


def check_end(world: World, story: Story, took_effect: tuple[str, ...], orders: list[Order]) -> None:
    """Those whose payment died after these requests: to be paid still, or confirmed if charged, or cancelled."""
    claimed = "claim" in took_effect and "void" not in took_effect and story.quantity <= IN_STOCK
    for order in orders:
        recorded = world.read_order(order)
        if claimed or "cancel unclaimed" in took_effect:
            charged = story.charging in took_effect
            assert recorded.status is (OrderStatus.CONFIRMED if charged else OrderStatus.CANCELLED)
        else:
            assert recorded.is_payable
            check_payable(world, order)


@pytest.mark.parametrize("name", REPAIRS)
def test_a_reconciler_makes_the_requests_that_are_killed_here(world: World, name: str) -> None:
    repair = REPAIRS[name]
    order = world.place({"tea": 2})
    world.pay(order, repair.card)

    swept = requests_of(world, world.reconcile)

    assert tuple(request for request in swept if not request.startswith("find")) == repair.requests
    assert len(swept) == SWEEP + len(repair.requests)
    assert world.read_order(order).status is repair.end


@pytest.mark.parametrize(("name", "request_"), REPAIR_DEATHS)
def test_a_killed_reconciler_is_made_good_by_the_next_wherever_that_is_killed_too(
    world: World, name: str, request_: str
) -> None:
    repair = REPAIRS[name]

    def crashed(effect: Effect) -> Order:
        order = world.place({"tea": 2})
        world.pay(order, repair.card)
        assert dies(world, kill_at(request_, effect), lambda: reconcile(world, order))
        return order

    orders = [crashed(Effect.NONE), *with_killed_reconcilers(world, partial(crashed, Effect.DONE))]
    world.check_invariants()
    world.reconcile()

    assert {world.read_order(order).status for order in orders} == {repair.end}
    let_processing_payments_succeed(world)
    world.reconcile()
    world.check_settled()


def test_a_sweep_that_is_killed_anywhere_is_made_good_by_the_next(world: World) -> None:
    repair = REPAIRS["charged"]
    world.pay(world.place({"tea": 2}), repair.card)
    requests = requests_of(world, world.reconcile)
    for request, effect in product(requests, MOMENTS):
        order = world.place({"tea": 2})
        world.pay(order, repair.card)

        assert dies(world, kill_at(request, effect), world.reconcile)
        world.reconcile()

        assert world.read_order(order).status is repair.end
    world.check_settled()


@pytest.mark.parametrize("status", OVERRIDES)
def test_an_override_makes_the_requests_that_are_killed_here(world: World, status: OrderStatus) -> None:
    order = world.place({"tea": 2})

    assert requests_of(world, lambda: world.override(order, status)) == OVERRIDE


@pytest.mark.parametrize("effect", MOMENTS)
@pytest.mark.parametrize(("status", "request_"), each(dict.fromkeys(OVERRIDES, OVERRIDE)))
def test_a_killed_override_has_settled_the_order_or_left_it_payable(
    world: World, status: OrderStatus, request_: str, effect: Effect
) -> None:
    order = world.place({"tea": 2})

    assert dies(world, kill_at(request_, effect), lambda: world.override(order, status))
    world.reconcile()

    world.check_settled()
    recorded = world.read_order(order)
    if request_ == "settle by hand" and effect is Effect.DONE:
        assert (recorded.status, recorded.override is not None) == (status, True)
    else:
        assert recorded.is_payable
        check_payable(world, order)
        world.check_settled()


@pytest.mark.parametrize("status", LATE_MONEY)
def test_news_of_late_money_makes_the_requests_that_are_killed_here(world: World, status: OrderStatus) -> None:
    _, news = late_money(world, status)

    assert requests_of(world, news) == LATE_MONEY[status]


@pytest.mark.parametrize(("status", "request_"), each(LATE_MONEY))
def test_late_money_is_kept_for_an_open_order_or_given_back_once_wherever_the_news_is_killed(
    world: World, status: OrderStatus, request_: str
) -> None:
    stories = []

    def crashed(effect: Effect) -> Order:
        order, news = late_money(world, status)
        stories.append((order, news))
        assert dies(world, kill_at(request_, effect), news)
        return order

    crashed(Effect.NONE)
    with_killed_reconcilers(world, partial(crashed, Effect.DONE))
    for _, news in stories:
        news()  # Stripe sends again what nobody has received.
    world.reconcile()

    world.check_settled()
    for order, _ in stories:
        recorded = world.read_order(order)
        if status is OrderStatus.PENDING:
            assert (recorded.status, refunds_of(world, order)) == (OrderStatus.CONFIRMED, 0)
        else:
            assert (recorded.status, refunds_of(world, order)) == (status, 1)
            assert recorded.refund
            assert recorded.refund.refund_id


def dies(world: World, plan: Plan, do: Callable[[], object]) -> bool:
    """Whether the process was killed before it had done."""
    with inject_faults(world, plan):
        try:
            do()
        except Killed:
            return True
    return False


def requests_of(world: World, do: Callable[[], object]) -> tuple[str, ...]:
    with inject_faults(world) as injection:
        do()
    return injection.requests


def with_killed_reconcilers(world: World, crashed: Callable[[], Order]) -> list[Order]:
    """Let one order per request and moment of its reconciler crash, and kill that reconciler there."""
    orders = [crashed()]
    requests = requests_of(world, partial(reconcile, world, orders[0]))
    for request, effect in product(requests, MOMENTS):
        order = crashed()
        orders.append(order)
        assert dies(world, kill_at(request, effect), partial(reconcile, world, order))
    return orders


def reconcile(world: World, order: Order) -> Order:
    return world.reconcile_one(order.order_id)


def check_payable(world: World, order: Order) -> None:
    paid = world.pay(order)
    if order.quantities()["tea"] > IN_STOCK:
        assert isinstance(paid, InsufficientStock)
    else:
        assert isinstance(paid, Order)
        assert paid.status is OrderStatus.CONFIRMED


def late_money(world: World, status: OrderStatus) -> tuple[Order, Callable[[], object]]:
    """An order that Stripe charged although it had refused the payment, `status` by then; and the news of it."""
    order = world.place({"tea": 2})
    world.pay(order, "pm_unknown")
    if status is not OrderStatus.PENDING:
        world.override(order, status)
    (intent,) = (intent for intent in world.store.intents() if intent.metadata["orderId"] == order.order_id)
    client = stripe.StripeClient("sk_test_somebody", http_client=DummyStripeHTTPClient(world.store))
    client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})

    def news() -> Order:
        return payments.follow_intent(
            order.order_id, intent.id, orders=world.orders, stripe=world.stripe, deadline=Deadline.after(28)
        )

    return order, news


def refunds_of(world: World, order: Order) -> int:
    return sum(len(charge.refunds) for charge in world.store.charges() if charge.metadata["orderId"] == order.order_id)


def let_processing_payments_succeed(world: World) -> None:
    started = world.wire.clock
    world.wire.clock = lambda: started() + 3600
