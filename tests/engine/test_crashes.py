"""Crashes: the process is killed at each of its requests, before or after it takes effect, and so is the reconciler.

Each scenario lists its requests, and a test compares the list with the requests that are sent. The scenario is killed
at each of them, by name, and then a reconciler at each of its own. The next reconciler must settle the order according
to its charge.
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
from order_payments.domain.errors import InsufficientStock, OrderExpired
from order_payments.domain.orders import Order, OrderStatus
from order_payments.domain.refunds import RefundStatus, restocked_units
from order_payments.runtime.clock import Deadline, utc_now
from tests.support.fault_injection import Effect, Killed, Plan, inject_faults, kill_at, no_faults, reset_world
from tests.support.world import VALID_FOR, World

EFFECTS = (Effect.NONE, Effect.DONE)
IN_STOCK = 500


@dataclass(frozen=True)
class Scenario:
    """A payment: the card, the requests, and the one that charges the card, if any."""

    card: str
    requests: tuple[str, ...]
    charging: str | None = None
    quantity: int = 2
    is_expired: bool = False

    def place(self, world: World) -> Order:
        """Place the order that is paid."""
        return world.place({"tea": self.quantity}, at=utc_now() - VALID_FOR if self.is_expired else None)


# Stripe's SDK retries a confirmation with an unknown outcome once.
SCENARIOS = {
    "paid": Scenario("pm_card_visa", ("read", "create", "claim", "confirm", "settle confirmed"), charging="confirm"),
    "declined": Scenario(
        "pm_card_chargeDeclined", ("read", "create", "claim", "confirm", "cancel", "settle cancelled")
    ),
    "requires action": Scenario(
        "pm_card_authenticationRequired", ("read", "create", "claim", "confirm", "cancel", "settle cancelled")
    ),
    "short of stock": Scenario(
        "pm_card_visa", ("read", "create", "claim", "cancel unclaimed", "cancel"), quantity=IN_STOCK + 1
    ),
    "expired": Scenario("pm_card_visa", ("read", "cancel unclaimed"), is_expired=True),
    "refused payment method": Scenario("pm_unknown", ("read", "create", "claim", "confirm", "void")),
    "unknown and charged": Scenario(
        "pm_dummy_timeout_after_charge", ("read", "create", "claim", "confirm", "confirm 2"), charging="confirm"
    ),
    "unknown and not charged": Scenario(
        "pm_dummy_timeout_before_charge", ("read", "create", "claim", "confirm", "confirm 2")
    ),
}


@dataclass(frozen=True)
class Repair:
    """A reconciler's repair of a payment with an unknown outcome: its requests, and the resulting status."""

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

OVERRIDE = ("read", "settle by hand")
LATE_CHARGES = {
    OrderStatus.CANCELLED: ("read", "retrieve", "owe refund", "refund", "record refund"),
    OrderStatus.CONFIRMED: ("read", "retrieve", "owe refund", "refund", "record refund"),
    OrderStatus.PENDING: ("read", "retrieve", "claim", "settle confirmed"),
}
"""The requests that an event of a late charge causes, by the order's status."""

REFUND = ("read", "owe refund", "refund", "record refund")
"""The requests of an admin's refund."""
REFUND_ENDS = {
    "pm_card_visa": RefundStatus.SUCCEEDED,
    "pm_card_pendingRefund": RefundStatus.PENDING,
    "pm_card_createDispute": RefundStatus.REFUSED,
}
"""The status of a refund, by the card that paid."""


@dataclass(frozen=True)
class UnfinishedRefund:
    """A refund that the reconciler finishes: the card, the last request before a crash, and the reconciler's."""

    card: str
    killed_after: str | None
    requests: tuple[str, ...]
    end: RefundStatus


UNFINISHED_REFUNDS = {
    "not sent": UnfinishedRefund(
        "pm_card_visa", "owe refund", ("read", "list refunds", "refund", "record refund"), RefundStatus.SUCCEEDED
    ),
    "sent and not recorded": UnfinishedRefund(
        "pm_card_visa", "refund", ("read", "list refunds", "record refund"), RefundStatus.SUCCEEDED
    ),
    "disputed": UnfinishedRefund(
        "pm_card_createDispute", "owe refund", ("read", "list refunds", "refund", "record refund"), RefundStatus.REFUSED
    ),
    "pending": UnfinishedRefund(
        "pm_card_pendingRefund", None, ("read", "retrieve refund", "record refund"), RefundStatus.SUCCEEDED
    ),
}
REFUND_EVENTS = {
    "failed": ("retrieve refund", "read", "record refund"),
    "made without the service": ("retrieve refund", "retrieve", "read", "record refund"),
}
"""The requests that an event about a refund causes, by the refund's course."""


def parametrize_requests(scenarios: dict[Any, tuple[str, ...]]) -> list[Any]:
    """Return test parameters: each request of each scenario, by name."""
    return [
        pytest.param(name, request, id=f"{name}-{request}")
        for name, requests in scenarios.items()
        for request in requests
    ]


PAYMENT_CRASHES = parametrize_requests({name: scenario.requests for name, scenario in SCENARIOS.items()})
REPAIR_CRASHES = parametrize_requests({name: repair.requests for name, repair in REPAIRS.items()})
OVERRIDES = (OrderStatus.CONFIRMED, OrderStatus.CANCELLED)


@pytest.fixture(scope="module")
def tables(engine: str) -> World:
    return World.fresh(client_of(engine), client_of(engine))


@pytest.fixture
def world(tables: World) -> World:
    world = reset_world(tables)
    world.add_product("tea", IN_STOCK)
    return world


@pytest.mark.parametrize("name", SCENARIOS)
def test_payment_makes_the_listed_requests(world: World, name: str) -> None:
    scenario = SCENARIOS[name]
    order = scenario.place(world)

    assert record_requests(world, lambda: world.pay(order, scenario.card)) == scenario.requests


@pytest.mark.parametrize(("name", "request_"), PAYMENT_CRASHES)
def test_payment_killed_at_any_request_is_settled(world: World, name: str, request_: str) -> None:
    scenario = SCENARIOS[name]

    def crash(effect: Effect) -> Order:
        order = scenario.place(world)
        assert is_killed(world, kill_at(request_, effect), lambda: world.pay(order, scenario.card))
        return order

    # A crash before a request leaves the same state as one after the previous request, which covers killed reconcilers.
    crashes = {
        Effect.NONE: [crash(Effect.NONE)],
        Effect.DONE: kill_reconcilers(world, partial(crash, Effect.DONE)),
    }
    world.check_invariants()
    world.reconcile()

    world.check_settled()
    index = scenario.requests.index(request_)
    for effect, orders in crashes.items():
        check_outcomes(world, scenario, scenario.requests[: index + (effect is Effect.DONE)], orders)
    world.check_settled()


def check_outcomes(world: World, scenario: Scenario, completed: tuple[str, ...], orders: list[Order]) -> None:
    """Check orders whose payment completed only these requests: confirmed if charged, else cancelled or payable."""
    claimed = "claim" in completed and "void" not in completed and scenario.quantity <= IN_STOCK
    for order in orders:
        recorded = world.read_order(order)
        if claimed or "cancel unclaimed" in completed:
            charged = scenario.charging in completed
            assert recorded.status is (OrderStatus.CONFIRMED if charged else OrderStatus.CANCELLED)
        else:
            assert recorded.is_payable
            check_payable(world, order)


@pytest.mark.parametrize("name", REPAIRS)
def test_reconciler_makes_the_listed_requests(world: World, name: str) -> None:
    repair = REPAIRS[name]
    order = world.place({"tea": 2})
    world.pay(order, repair.card)

    assert record_requests(world, world.reconcile) == ("find", *repair.requests)
    assert world.read_order(order).status is repair.end


@pytest.mark.parametrize(("name", "request_"), REPAIR_CRASHES)
def test_order_of_killed_reconciler_is_settled_by_the_next(world: World, name: str, request_: str) -> None:
    repair = REPAIRS[name]

    def crash(effect: Effect) -> Order:
        order = world.place({"tea": 2})
        world.pay(order, repair.card)
        assert is_killed(world, kill_at(request_, effect), lambda: reconcile(world, order))
        return order

    orders = [crash(Effect.NONE), *kill_reconcilers(world, partial(crash, Effect.DONE))]
    world.check_invariants()
    world.reconcile()

    assert {world.read_order(order).status for order in orders} == {repair.end}
    complete_pending_changes(world)
    world.reconcile()
    world.check_settled()


def test_sweep_killed_at_any_request_is_completed_by_the_next(world: World) -> None:
    repair = REPAIRS["charged"]
    world.pay(world.place({"tea": 2}), repair.card)
    requests = record_requests(world, world.reconcile)
    for request, effect in product(requests, EFFECTS):
        order = world.place({"tea": 2})
        world.pay(order, repair.card)

        assert is_killed(world, kill_at(request, effect), world.reconcile)
        world.reconcile()

        assert world.read_order(order).status is repair.end
    world.check_settled()


@pytest.mark.parametrize("status", OVERRIDES)
def test_override_makes_the_listed_requests(world: World, status: OrderStatus) -> None:
    order = world.place({"tea": 2})

    assert record_requests(world, lambda: world.override(order, status)) == OVERRIDE


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize(("status", "request_"), parametrize_requests(dict.fromkeys(OVERRIDES, OVERRIDE)))
def test_killed_override_settles_order_or_leaves_it_payable(
    world: World, status: OrderStatus, request_: str, effect: Effect
) -> None:
    order = world.place({"tea": 2})

    assert is_killed(world, kill_at(request_, effect), lambda: world.override(order, status))
    world.reconcile()

    world.check_settled()
    recorded = world.read_order(order)
    if request_ == "settle by hand" and effect is Effect.DONE:
        assert (recorded.status, recorded.override is not None) == (status, True)
    else:
        assert recorded.is_payable
        check_payable(world, order)
        world.check_settled()


@pytest.mark.parametrize("status", LATE_CHARGES)
def test_late_charge_event_makes_the_listed_requests(world: World, status: OrderStatus) -> None:
    _, deliver_event = charge_after_refusal(world, status)

    assert record_requests(world, deliver_event) == LATE_CHARGES[status]


@pytest.mark.parametrize(("status", "request_"), parametrize_requests(LATE_CHARGES))
def test_late_charge_confirms_pending_order_or_is_refunded_once(
    world: World, status: OrderStatus, request_: str
) -> None:
    scenarios = []

    def crash(effect: Effect) -> Order:
        order, deliver_event = charge_after_refusal(world, status)
        scenarios.append((order, deliver_event))
        assert is_killed(world, kill_at(request_, effect), deliver_event)
        return order

    crash(Effect.NONE)
    kill_reconcilers(world, partial(crash, Effect.DONE))
    for _, deliver_event in scenarios:
        deliver_event()  # Stripe retries an event until it is acknowledged.
    world.reconcile()

    world.check_settled()
    for order, _ in scenarios:
        recorded = world.read_order(order)
        if status is OrderStatus.PENDING:
            assert (recorded.status, refunds_of(world, order)) == (OrderStatus.CONFIRMED, 0)
        else:
            assert (recorded.status, refunds_of(world, order)) == (status, 1)
            assert [refund.status for refund in recorded.refunds] == [RefundStatus.SUCCEEDED]


@pytest.mark.parametrize("card", REFUND_ENDS)
def test_refund_makes_the_listed_requests(world: World, card: str) -> None:
    order = paid_order(world, card)

    assert record_requests(world, lambda: world.refund(order, 1000, restock={"tea": 1})) == REFUND
    assert [refund.status for refund in world.read_order(order).refunds] == [REFUND_ENDS[card]]


@pytest.mark.parametrize(("card", "request_"), parametrize_requests(dict.fromkeys(REFUND_ENDS, REFUND)))
def test_refund_killed_at_any_request_is_sent_once_if_it_is_owed(world: World, card: str, request_: str) -> None:
    def crash(effect: Effect) -> Order:
        order = paid_order(world, card)
        assert is_killed(world, kill_at(request_, effect), lambda: world.refund(order, 1000, restock={"tea": 1}))
        return order

    crashes = {
        Effect.NONE: [crash(Effect.NONE)],
        Effect.DONE: kill_reconcilers(world, partial(crash, Effect.DONE)),
    }
    world.check_invariants()
    world.reconcile()

    world.check_invariants()
    index = REFUND.index(request_)
    for effect, orders in crashes.items():
        is_owed = "owe refund" in REFUND[: index + (effect is Effect.DONE)]
        ends = [REFUND_ENDS[card]] if is_owed else []
        is_sent = is_owed and REFUND_ENDS[card] is not RefundStatus.REFUSED
        for order in orders:
            check_refunds(world, order, ends, sent=1000 if is_sent else 0, restocked=int(is_sent))
    complete_pending_changes(world)
    world.reconcile()
    world.check_settled()


@pytest.mark.parametrize("name", UNFINISHED_REFUNDS)
def test_reconciler_finishes_refund_with_the_listed_requests(world: World, name: str) -> None:
    unfinished = UNFINISHED_REFUNDS[name]
    order = owing_order(world, unfinished)
    complete_pending_changes(world)

    assert record_requests(world, lambda: reconcile(world, order)) == unfinished.requests
    assert [refund.status for refund in world.read_order(order).refunds] == [unfinished.end]
    world.check_settled()


@pytest.mark.parametrize(
    ("name", "request_"), parametrize_requests({name: refund.requests for name, refund in UNFINISHED_REFUNDS.items()})
)
def test_refund_of_killed_reconciler_is_finished_by_the_next(world: World, name: str, request_: str) -> None:
    unfinished = UNFINISHED_REFUNDS[name]

    def crash(effect: Effect) -> Order:
        order = owing_order(world, unfinished)
        complete_pending_changes(world)
        assert is_killed(world, kill_at(request_, effect), lambda: reconcile(world, order))
        return order

    orders = [crash(Effect.NONE), *kill_reconcilers(world, partial(crash, Effect.DONE))]
    world.check_invariants()
    world.reconcile()

    world.check_settled()
    is_sent = unfinished.end is RefundStatus.SUCCEEDED
    for order in orders:
        check_refunds(world, order, [unfinished.end], sent=1000 if is_sent else 0, restocked=int(is_sent))


@pytest.mark.parametrize("course", REFUND_EVENTS)
def test_refund_event_makes_the_listed_requests(world: World, course: str) -> None:
    _, deliver_event = changed_refund(world, course)

    assert record_requests(world, deliver_event) == REFUND_EVENTS[course]


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize(("course", "request_"), parametrize_requests(REFUND_EVENTS))
def test_refund_event_killed_at_any_request_is_recorded_by_the_next(
    world: World, course: str, request_: str, effect: Effect
) -> None:
    order, deliver_event = changed_refund(world, course)

    assert is_killed(world, kill_at(request_, effect), deliver_event)
    world.reconcile()
    deliver_event()  # Stripe retries an event until it is acknowledged.

    world.check_settled()
    if course == "failed":
        check_refunds(world, order, [RefundStatus.FAILED], sent=0, restocked=1)
    else:
        check_refunds(world, order, [RefundStatus.SUCCEEDED], sent=1000, restocked=0)


def is_killed(world: World, plan: Plan, action: Callable[[], object]) -> bool:
    """Return whether the process was killed in `action`."""
    with inject_faults(world, plan):
        try:
            action()
        except Killed:
            return True
    return False


def record_requests(world: World, action: Callable[[], object]) -> tuple[str, ...]:
    with inject_faults(world) as injection:
        action()
    return injection.requests


def kill_reconcilers(world: World, crash: Callable[[], Order]) -> list[Order]:
    """Crash one order for each request and effect of its reconciler, and kill that reconciler there."""
    orders = [crash()]
    requests = record_requests(world, partial(reconcile, world, orders[0]))
    for request, effect in product(requests, EFFECTS):
        order = crash()
        orders.append(order)
        assert is_killed(world, kill_at(request, effect), partial(reconcile, world, order))
    return orders


def reconcile(world: World, order: Order) -> Order:
    return world.reconcile_one(order.order_id)


def check_payable(world: World, order: Order) -> None:
    paid = world.pay(order)
    if order.is_expired(utc_now(), valid_for=VALID_FOR):
        assert isinstance(paid, OrderExpired)
    elif order.quantities()["tea"] > IN_STOCK:
        assert isinstance(paid, InsufficientStock)
    else:
        assert isinstance(paid, Order)
        assert paid.status is OrderStatus.CONFIRMED


def charge_after_refusal(world: World, status: OrderStatus) -> tuple[Order, Callable[[], object]]:
    """Charge an order after its payment was refused and voided. Return it and a function that delivers the event."""
    order = world.place({"tea": 2})
    world.pay(order, "pm_unknown")
    if status is not OrderStatus.PENDING:
        world.override(order, status)
    (intent,) = (intent for intent in world.store.intents() if intent.metadata["orderId"] == order.order_id)
    client = stripe.StripeClient("sk_test_external", http_client=DummyStripeHTTPClient(world.store))
    client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})

    def deliver_event() -> Order:
        return payments.follow_intent(
            order.order_id, intent.id, orders=world.orders, stripe=world.stripe, deadline=Deadline.after(28)
        )

    return order, deliver_event


def refunds_of(world: World, order: Order) -> int:
    return sum(len(charge.refunds) for charge in world.store.charges() if charge.metadata["orderId"] == order.order_id)


def paid_order(world: World, card: str) -> Order:
    order = world.place({"tea": 2})
    world.pay(order, card)
    return order


def owing_order(world: World, unfinished: UnfinishedRefund) -> Order:
    """Return an order whose refund of 1000, with one unit to restock, is not finished."""
    order = paid_order(world, unfinished.card)
    plan = kill_at(unfinished.killed_after, Effect.DONE) if unfinished.killed_after else no_faults
    is_dead = is_killed(world, plan, lambda: world.refund(order, 1000, restock={"tea": 1}))
    assert is_dead is (unfinished.killed_after is not None)
    return order


def changed_refund(world: World, course: str) -> tuple[Order, Callable[[], object]]:
    """Return an order with a refund that has changed at Stripe, and a function that delivers the event."""
    order = paid_order(world, "pm_card_visa")
    if course == "failed":
        world.refund(order, 1000, restock={"tea": 1})
        ((refund,),) = (charge.refunds for charge in world.charges_at_stripe(order))
        world.fail_refund(refund.id)
        stripe_refund_id = refund.id
    else:
        stripe_refund_id = world.refund_without_service(order, 1000)
    return order, lambda: world.follow_refund(stripe_refund_id)


def check_refunds(world: World, order: Order, ends: list[RefundStatus], *, sent: int, restocked: int) -> None:
    """Check the statuses of an order's refunds, the amount that Stripe returned for it, and the restocked units."""
    recorded = world.read_order(order).refunds
    assert [refund.status for refund in recorded] == ends
    assert world.refunded_at_stripe(order) == sent
    assert restocked_units(recorded) == ({"tea": restocked} if restocked else {})


def complete_pending_changes(world: World) -> None:
    """Let an hour pass at Stripe, in which payments and refunds are completed."""
    started = world.wire.clock
    world.wire.clock = lambda: started() + 3600
