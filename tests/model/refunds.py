"""Model of refunds (`order_payments/refunds.py`): owe, send, record.

The charge of a confirmed order is 3, and it sold one unit. Two admins each refund 2 and restock the unit, so only one
of them may succeed. A reconciler finishes owed refunds, Stripe may fail a refund that succeeded and report it, and a
day may pass, after which Stripe has forgotten the idempotency keys. The charge may be disputed.

Whatever happens: the order's refunds never claim more than the charge, Stripe never returns more than the order has
recorded or owes, the unit is restocked at most once, and a reconciler without faults brings every refund to its end.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from tests.model.exploration import Result, ends_well, explore

CHARGE = 3
AMOUNT = 2


class Rule(StrEnum):
    """A rule of the protocol that a mutant leaves out."""

    SUM_CONDITION = "sum condition"
    RESTOCK_IN_TRANSACTION = "restock in the transaction"
    KEY_FROM_REFUND = "idempotency key from the refund's id"
    REFUSED_IS_FINAL = "refused is final"
    LOOK_BEFORE_RESEND = "look before sending again"


class AtStripe(NamedTuple):
    """A refund at Stripe: the order's refund that caused it, and its status."""

    refund: int
    status: str


class Actor(NamedTuple):
    """An actor, its next step, the refund that it works on, and what Stripe answered."""

    kind: str
    step: str
    refund: int
    answer: str = ""


class World(NamedTuple):
    """The order's refunds by number (`-` if there is none), and Stripe's state.

    `restocking` are the refunds that put the unit back or will; `restocked` counts how often that was done.
    """

    refunds: tuple[str, ...]
    restocking: tuple[int, ...]
    restocked: int
    at_stripe: tuple[AtStripe, ...]
    keys: tuple[int, ...]
    is_disputed: bool
    actors: tuple[Actor, ...]


CLAIMING = {"owed", "succeeded"}


def start(*, is_disputed: bool) -> World:
    """Return the world before anything happened."""
    actors = (
        Actor("admin", "owe", 0),
        Actor("admin", "owe", 1),
        Actor("reconciler", "read", -1),
        Actor("stripe", "fail", 0),
        Actor("time", "day", -1),
    )
    return World(("-", "-"), (), 0, (), (), is_disputed, actors)


class Protocol:
    """The protocol, without the rule `missing`."""

    def __init__(self, missing: Rule | None = None) -> None:
        self.missing = missing

    def check(self, *, is_disputed: bool) -> Result:
        """Explore all worlds."""
        return explore(start(is_disputed=is_disputed), self.successors, self.find_fault)

    def successors(self, world: World) -> Iterator[World]:
        """Yield the worlds after each actor's step, after its crash, and after its lost reply."""
        for position, actor in enumerate(world.actors):
            if actor.step == "done":
                continue
            if actor.kind in {"admin", "reconciler"}:
                yield replace_actor(world, position, actor._replace(step="done"))  # crashed before the effect
            for after, following in self.effects(world, actor):
                yield replace_actor(after, position, following)
                yield replace_actor(after, position, following._replace(step="done"))  # the reply was lost

    def effects(self, world: World, actor: Actor) -> Iterator[tuple[World, Actor]]:
        """Yield each effect of the actor's next step, with the actor after it."""
        number = actor.refund
        match actor.step:
            case "owe":
                claimed = sum(AMOUNT for status in world.refunds if status in CLAIMING)
                if claimed + AMOUNT <= CHARGE or self.missing is Rule.SUM_CONDITION:
                    # The unit was sold once, so only one refund may put it back.
                    restocking = world.restocking or (number,)
                    after = set_refund(world, number, "owed")._replace(restocking=restocking)
                    yield after, actor._replace(step="send")
                else:
                    yield world, actor._replace(step="done")
            case "read":
                open_statuses = {"owed", "refused"} if self.missing is Rule.REFUSED_IS_FINAL else {"owed"}
                owed = [each for each, status in enumerate(world.refunds) if status in open_statuses]
                if not owed:
                    yield world, actor._replace(step="done")
                for each in owed:
                    step = "send" if self.missing is Rule.LOOK_BEFORE_RESEND else "look"
                    yield world, actor._replace(step=step, refund=each)
            case "look":
                status = next((found.status for found in world.at_stripe if found.refund == number), None)
                step, answer = ("record", status) if status else ("send", "")
                yield world, actor._replace(step=step, answer=answer or "")
            case "send":
                yield self.send(world, actor)
            case "record":
                yield self.record(world, actor)
            case "restock":
                yield world._replace(restocked=world.restocked + 1), self.after_record(actor)
            case "fail":
                for position, found in enumerate(world.at_stripe):
                    if found.status == "succeeded":
                        failed = (*world.at_stripe[:position], found._replace(status="failed"))
                        after = world._replace(at_stripe=(*failed, *world.at_stripe[position + 1 :]))
                        yield after, Actor("webhook", "record", found.refund, "failed")
            case "day" if not any(each.step in {"look", "send", "record"} for each in world.actors):
                # A process that is about to send lives for a minute, not for a day.
                yield world._replace(keys=()), actor._replace(step="done")

    def send(self, world: World, actor: Actor) -> tuple[World, Actor]:
        """Create the refund at Stripe, or get the recorded answer to the same key."""
        number, refused = actor.refund, actor._replace(step="record", answer="refused")
        if number in world.keys and self.missing is not Rule.KEY_FROM_REFUND:
            status = next((found.status for found in world.at_stripe if found.refund == number), "refused")
            return world, actor._replace(step="record", answer=status)
        returned = sum(AMOUNT for found in world.at_stripe if found.status == "succeeded")
        if world.is_disputed or returned + AMOUNT > CHARGE + (AMOUNT if self.is_unlimited() else 0):
            return world._replace(keys=add_key(world.keys, number)), refused
        at_stripe = (*world.at_stripe, AtStripe(number, "succeeded"))
        after = world._replace(at_stripe=at_stripe, keys=add_key(world.keys, number))
        return after, actor._replace(step="record", answer="succeeded")

    def is_unlimited(self) -> bool:
        """Return whether Stripe lets a second partial refund through: a larger charge would have room for it."""
        return self.missing in {Rule.KEY_FROM_REFUND, Rule.LOOK_BEFORE_RESEND}

    def record(self, world: World, actor: Actor) -> tuple[World, Actor]:
        """Record Stripe's answer if the refund's status allows it, and restock the unit of a refund that was sent."""
        before = world.refunds[actor.refund]
        allowed = {"owed": {"succeeded", "failed", "refused"}, "succeeded": {"failed"}}
        is_restocking = before == "owed" and actor.answer == "succeeded" and actor.refund in world.restocking
        if self.missing is Rule.RESTOCK_IN_TRANSACTION and actor.answer == "succeeded":
            after = set_refund(world, actor.refund, actor.answer) if before == "owed" else world
            return after, actor._replace(step="restock")
        if actor.answer not in allowed.get(before, set()):
            return world, self.after_record(actor)
        after = set_refund(world, actor.refund, actor.answer)
        if before == "owed" and actor.answer != "succeeded":
            # It was never sent, so it puts nothing back.
            after = after._replace(restocking=tuple(each for each in after.restocking if each != actor.refund))
        return after._replace(restocked=after.restocked + is_restocking), self.after_record(actor)

    def after_record(self, actor: Actor) -> Actor:
        """Return the actor after it finished a refund: the reconciler reads again."""
        return Actor("reconciler", "read", -1) if actor.kind == "reconciler" else actor._replace(step="done")

    def find_fault(self, world: World) -> str | None:
        """Return the rule that the world breaks, or None."""
        if sum(AMOUNT for status in world.refunds if status in CLAIMING) > CHARGE:
            return "the order's refunds exceed the charge"
        if world.restocked > 1:
            return "restocked twice"
        for number in range(len(world.refunds)):
            returned = sum(found.refund == number and found.status == "succeeded" for found in world.at_stripe)
            if returned > 1:
                return "refunded twice"
            if returned and world.refunds[number] not in CLAIMING:
                return "money returned without a record"
        if not self.is_recovered(world):
            return "a refund does not end"
        return None

    def is_recovered(self, world: World) -> bool:
        """Return whether a reconciler without faults brings every refund to its end."""
        alone = world._replace(actors=(Actor("reconciler", "read", -1),))

        def successors(at: World) -> Iterator[World]:
            (actor,) = at.actors
            if actor.step != "done":
                for after, following in self.effects(at, actor):
                    yield replace_actor(after, 0, following)

        return ends_well(alone, successors, lambda at: "owed" not in at.refunds)


def set_refund(world: World, number: int, status: str) -> World:
    """Return the world with a refund's status."""
    refunds = tuple(status if each == number else before for each, before in enumerate(world.refunds))
    return world._replace(refunds=refunds)


def replace_actor(world: World, position: int, actor: Actor) -> World:
    """Return the world with an actor's next step."""
    return world._replace(actors=(*world.actors[:position], actor, *world.actors[position + 1 :]))


def add_key(keys: tuple[int, ...], number: int) -> tuple[int, ...]:
    """Return the keys that Stripe knows, with one more."""
    return tuple(sorted({*keys, number}))
