"""Model of a payment (`order_payments/payments.py`): create, claim, confirm, settle; void or fence.

Two clients pay the same order, an admin overrides it, a second order competes for the only unit, and two reconcilers
run, in every order of their steps. Stripe may accept, decline or refuse the payment.

Whatever happens: at most one charge; confirmed if and only if charged or overridden; the unit is conserved and leaves
the shelf only with a confirmation; and a reconciler without faults brings every order with an attempt to its end.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from tests.model.exploration import Result, ends_well, explore


class Rule(StrEnum):
    """A rule of the protocol that a mutant leaves out."""

    FENCE = "fence"
    CLAIM_CONDITION = "claim condition"
    SETTLE_CONDITION = "settle condition"
    OVERRIDE_CONDITION = "override condition"
    CLAIM_BEFORE_CONFIRM = "claim before confirm"
    TIMEOUT_IS_UNKNOWN = "timeout is unknown"


class Order(NamedTuple):
    """The order: its status, the number of its attempt (0 without one), and whether an admin settled it."""

    status: str
    attempt: int
    is_overridden: bool


class Stock(NamedTuple):
    """The units on the shelf, and those that can be sold."""

    stock: int
    available: int


class Intent(NamedTuple):
    """The PaymentIntent: its state, and how often it was charged."""

    state: str
    charges: int


class Actor(NamedTuple):
    """An actor, its next step, and the attempt that it works on."""

    kind: str
    step: str
    attempt: int


class World(NamedTuple):
    """Everything that the actors share, and the actors."""

    order: Order
    stock: Stock
    intent: Intent
    actors: tuple[Actor, ...]


Effect = tuple[Order, Stock, Intent, str, int]
"""The world after a step, and the actor's next step and attempt."""

START = World(
    Order("pending", 0, is_overridden=False),
    Stock(1, 1),
    Intent("absent", 0),
    (
        Actor("payer", "create", 1),
        Actor("payer", "create", 2),
        Actor("admin", "override", 0),
        Actor("reconciler", "read", 0),
        Actor("reconciler", "read", 0),
        Actor("rival", "take", 0),
    ),
)


class Protocol:
    """The protocol, without the rule `missing`."""

    def __init__(self, missing: Rule | None = None) -> None:
        self.missing = missing

    def check(self) -> Result:
        """Explore all worlds."""
        return explore(START, self.successors, self.find_fault)

    def successors(self, world: World, *, faults: bool = True) -> Iterator[World]:
        """Yield the worlds after each actor's step and, with `faults`, after its crash and its lost reply."""
        for position, actor in enumerate(world.actors):
            if actor.step == "done":
                continue
            if faults:
                yield replace_actor(world, position, actor._replace(step="done"))  # crashed before the effect
            for order, stock, intent, step, attempt in self.effects(world, actor):
                after = World(order, stock, intent, world.actors)
                yield replace_actor(after, position, Actor(actor.kind, step, attempt))
                if faults:
                    yield replace_actor(after, position, Actor(actor.kind, "done", attempt))  # the reply was lost

    def effects(self, world: World, actor: Actor) -> Iterator[Effect]:
        """Yield each effect that the actor's next step may have."""
        order, stock, intent, _ = world
        mine = actor.attempt
        is_open = order.status == "pending" and order.attempt == 0
        match actor.step:
            case "create":
                follow = "confirm" if self.missing is Rule.CLAIM_BEFORE_CONFIRM else "claim"
                yield order, stock, intent._replace(state="ready") if intent.state == "absent" else intent, follow, mine
            case "claim" if (is_open or self.missing is Rule.CLAIM_CONDITION) and stock.available >= 1:
                held = stock._replace(available=stock.available - 1)
                yield order._replace(attempt=mine), held, intent, "confirm", mine
            case "claim" if is_open:
                yield order._replace(status="cancelled"), stock, intent, "done", mine
            case "claim":
                yield order, stock, intent, "done", mine
            case "confirm" if intent.state in {"ready", "declined"}:
                paid = Intent("paid", intent.charges + 1)
                yield order, stock, paid, "settle paid", mine
                yield order, stock, intent._replace(state="declined"), "fence", mine
                yield order, stock, intent, "void", mine  # Stripe refused the request, so it charged nothing
                if self.missing is Rule.TIMEOUT_IS_UNKNOWN:
                    yield order, stock, paid, "settle failed", mine
            case "confirm":
                yield order, stock, intent, "settle paid" if intent.state == "paid" else "settle failed", mine
            case "fence" if self.missing is Rule.FENCE and actor.kind == "reconciler":
                yield order, stock, intent, "settle paid" if intent.state == "paid" else "settle failed", mine
            case "fence" if intent.state == "paid":
                yield order, stock, intent, "settle paid", mine
            case "fence":
                yield order, stock, intent._replace(state="cancelled"), "settle failed", mine
            case "settle paid" | "settle failed":
                settled = self.settle(order, stock, mine, is_paid=actor.step == "settle paid")
                yield *settled, intent, "done", mine
            case "void" if order.status == "pending" and order.attempt == mine:
                released = stock._replace(available=stock.available + 1)
                yield order._replace(attempt=0), released, intent, "done", mine
            case "void":
                yield order, stock, intent, "done", mine
            case "override" if is_open or self.missing is Rule.OVERRIDE_CONDITION:
                yield order._replace(status="cancelled", is_overridden=True), stock, intent, "done", mine
                if stock.available >= 1:
                    sold = Stock(stock.stock - 1, stock.available - 1)
                    yield order._replace(status="confirmed", is_overridden=True), sold, intent, "done", mine
            case "override":
                yield order, stock, intent, "done", mine
            case "read" if order.status == "pending" and order.attempt:  # an attempt whose lease has expired
                yield order, stock, intent, "fence", order.attempt
            case "take" if stock.available >= 1:  # the other order sells the unit
                yield order, Stock(stock.stock - 1, stock.available - 1), intent, "done", mine

    def settle(self, order: Order, stock: Stock, attempt: int, *, is_paid: bool) -> tuple[Order, Stock]:
        """Confirm the order and take the held unit, or cancel it and release the unit, while it is in flight."""
        is_in_flight = order.status == "pending" and order.attempt == attempt
        if not is_in_flight and self.missing is not Rule.SETTLE_CONDITION:
            return order, stock
        if is_paid:
            return order._replace(status="confirmed"), stock._replace(stock=stock.stock - 1)
        return order._replace(status="cancelled"), stock._replace(available=stock.available + 1)

    def find_fault(self, world: World) -> str | None:
        """Return the rule that the world breaks, or None."""
        if fault := find_broken_invariant(world):
            return fault
        is_in_flight = world.order.status == "pending" and world.order.attempt
        return "not recovered" if is_in_flight and not self.is_recovered(world) else None

    def is_recovered(self, world: World) -> bool:
        """Return whether one reconciler without faults brings the order to its end."""
        alone = world._replace(actors=(Actor("reconciler", "read", 0),))

        def is_settled(at: World) -> bool:
            return find_broken_invariant(at) is None and not (at.order.status == "pending" and at.order.attempt)

        return ends_well(alone, lambda at: self.successors(at, faults=False), is_settled)


def find_broken_invariant(world: World) -> str | None:
    """Return what must never be so, or None."""
    order, stock, intent, actors = world
    is_sold_to_rival = any(actor.kind == "rival" and actor.step == "done" for actor in actors)
    held = 1 if order.status == "pending" and order.attempt else 0
    if intent.charges > 1:
        return "charged twice"
    if min(stock) < 0:
        return "oversold"
    if stock.stock - stock.available != held:
        return "stock not conserved"
    if order.status == "confirmed" and intent.charges != (0 if order.is_overridden else 1):
        return "confirmed without a charge, or overridden and charged"
    if order.status == "cancelled" and intent.charges:
        return "cancelled and charged"
    if stock.stock != 0 if order.status == "confirmed" else not is_sold_to_rival and stock.stock != 1:
        return "stock moved at the wrong time"
    return None


def replace_actor(world: World, position: int, actor: Actor) -> World:
    """Return the world with an actor's next step."""
    return world._replace(actors=(*world.actors[:position], actor, *world.actors[position + 1 :]))
