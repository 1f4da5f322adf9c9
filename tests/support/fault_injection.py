"""Faults on the service's way out: every request of it to DynamoDB and to Stripe is counted here, and can go wrong.

with inject_faults(world, kill_at("confirm", Effect.DONE)) as injection, pytest.raises(Killed):
    world.pay(order)

The clients that `World` uses to look, and the dummy Stripe's own, are left alone and are not counted.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, NoReturn
from unittest.mock import patch

import stripe
from botocore import xform_name
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from dummy_stripe import MemoryStore
from tests.support.world import World

StripeAnswer = tuple[Any, int, Mapping[str, str]]


class Killed(BaseException):
    """The process is gone. No handler of errors catches it, as none would get to run."""


class Effect(StrEnum):
    """What becomes of a request that goes wrong."""

    NONE = "before"
    DONE = "after"
    LATE = "late"
    """It takes effect when `Interference.land` is called: its sender has given up by then."""


@dataclass(frozen=True, slots=True)
class Boundary:
    """A request that leaves the service: its zero-based index, its name by purpose, and its occurrence, from 1."""

    number: int
    name: str
    to: str
    occurrence: int = 1

    @property
    def request(self) -> str:
        """The request by name and occurrence: `confirm`, then `confirm 2`."""
        return self.name if self.occurrence == 1 else f"{self.name} {self.occurrence}"


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with a request. `reply` raises, or returns what Stripe answers in place of the truth."""

    effect: Effect
    reply: Callable[[], StripeAnswer]


Plan = Callable[[Boundary], Fault | None]
"""Which fault each boundary gets."""


@dataclass(slots=True)
class Injection:
    """What passed the boundaries, in order; and what is still on its way."""

    boundaries: list[Boundary] = field(default_factory=list)
    late: list[Callable[[], object]] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the requests, in order."""
        return tuple(boundary.name for boundary in self.boundaries)

    @property
    def requests(self) -> tuple[str, ...]:
        """The requests by name and occurrence, in order."""
        return tuple(boundary.request for boundary in self.boundaries)

    def deliver_late(self) -> None:
        """Let what is late arrive. Nobody waits for the answers."""
        while self.late:
            with suppress(ClientError, stripe.APIConnectionError):
                self.late.pop(0)()


def no_faults(_: Boundary) -> None:
    """No faults: to count the boundaries."""


def kill_at(request: str, effect: Effect) -> Plan:
    """Kill the process at a request, named as in `Boundary.request`, before or after the request takes effect."""
    return lambda boundary: Fault(effect, _die) if boundary.request == request else None


def kill_at_index(number: int, effect: Effect) -> Plan:
    """Kill the process at its request with this zero-based index, before or after the request takes effect."""
    return lambda boundary: Fault(effect, _die) if boundary.number == number else None


def delay_at(number: int) -> Plan:
    """That request is under way for longer than the service waits for it, and so is each repetition of it."""
    late: set[str] = set()

    def plan(boundary: Boundary) -> Fault | None:
        if boundary.number == number:
            late.add(boundary.name)
        if boundary.name not in late:
            return None
        return (
            stripe_connection_error(Effect.LATE) if boundary.to == "stripe" else dynamodb_error(Effect.LATE, TIMED_OUT)
        )

    return plan


def fail_each(name: str, fault: Fault) -> Plan:
    """Every request of that name goes wrong."""
    return lambda boundary: fault if boundary.name == name else None


def fail_in_turn(name: str, *faults: Fault) -> Plan:
    """The first requests of that name go wrong, each in its way."""
    left = list(faults)
    return lambda boundary: left.pop(0) if left and boundary.name == name else None


def fail_from(name: str, first: Fault, then: Fault) -> Plan:
    """The first request of that name goes wrong, and after it all that go to the same place."""
    down: set[str] = set()

    def plan(boundary: Boundary) -> Fault | None:
        if boundary.to in down:
            return then
        if boundary.name != name:
            return None
        down.add(boundary.to)
        return first

    return plan


@contextmanager
def inject_faults(world: World, plan: Plan = no_faults) -> Iterator[Injection]:
    """Lay the faults of `plan` on all requests of the world's service, and count them, until the block is left."""
    injection = Injection()
    dead: list[Killed] = []

    def arrive(name: str, to: str) -> Fault | None:
        if dead:
            raise dead[0]
        occurrence = 1 + injection.names.count(name)
        boundary = Boundary(len(injection.boundaries), name, to, occurrence)
        injection.boundaries.append(boundary)
        return plan(boundary)

    def reply(fault: Fault) -> StripeAnswer:
        try:
            return fault.reply()
        except Killed as killed:
            dead.append(killed)
            raise

    def before_call(model: Any, params: Mapping[str, Any], context: dict[str, Any], **_: object) -> None:
        request = json.loads(params["body"])
        fault = context["fault"] = arrive(_name_in_dynamodb(model.name, request), "dynamodb")
        if fault is None or fault.effect is Effect.DONE:
            return
        if fault.effect is Effect.LATE:
            injection.late.append(partial(getattr(world.fault_free, xform_name(model.name)), **request))
        reply(fault)

    def after_call(context: Mapping[str, Any], **_: object) -> None:
        if fault := context["fault"]:
            reply(fault)

    send = world.wire.request

    def request(method: str, url: str, headers: Any, post_data: Any = None, **options: Any) -> StripeAnswer:
        fault = arrive(_name_in_stripe(method, url), "stripe")
        if fault is None:
            return send(method, url, headers, post_data, **options)
        if fault.effect is Effect.DONE:
            # Where the dummy's own answer is lost, too, the effect is there all the same.
            with suppress(stripe.APIConnectionError):
                send(method, url, headers, post_data, **options)
        if fault.effect is Effect.LATE:
            injection.late.append(partial(send, method, url, headers, post_data, **options))
        return reply(fault)

    events = world.service.meta.events
    events.register("before-call.dynamodb", before_call)
    events.register("after-call.dynamodb", after_call)
    try:
        with patch.object(world.wire, "request", request):
            yield injection
    finally:
        events.unregister("before-call.dynamodb", before_call)
        events.unregister("after-call.dynamodb", after_call)


def dynamodb_error(effect: Effect, error: Exception) -> Fault:
    """DynamoDB, or the way there, answers with an error."""
    return Fault(effect, partial(_raise, error))


def stripe_connection_error(effect: Effect) -> Fault:
    """No answer of Stripe's arrives. The SDK tries again, as it does on a connection that broke."""
    error = stripe.APIConnectionError("nothing came", should_retry=True)  # type: ignore[no-untyped-call]  # the SDK has no types here
    return Fault(effect, partial(_raise, error))


def stripe_response(effect: Effect, status: int, body: str) -> Fault:
    """Stripe, or something before it, answers this."""
    return Fault(effect, lambda: (body, status, {}))


def client_error(code: str, status: int) -> ClientError:
    """An answer of DynamoDB that carries an error's code."""
    answer: Any = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "")


UNREACHABLE = EndpointConnectionError(endpoint_url="http://dynamodb.invalid")
CONNECTION_CLOSED = ConnectionClosedError(endpoint_url="http://dynamodb.invalid")
TIMED_OUT = ReadTimeoutError(endpoint_url="http://dynamodb.invalid")


def reset_world(world: World) -> World:
    """A world as `World.fresh` makes it, on the tables that `world` has, and with a Stripe in memory.

    Both for speed: a test may want hundreds.
    """
    for table, key in (("OrdersTable", "orderId"), ("ProductsTable", "productId")):
        found = world.fault_free.scan(TableName=table, ConsistentRead=True, ProjectionExpression=key)["Items"]
        for start in range(0, len(found), 25):  # as many as DynamoDB takes at once
            deletions: Any = [{"DeleteRequest": {"Key": item}} for item in found[start : start + 25]]
            world.fault_free.batch_write_item(RequestItems={table: deletions})
    return keep_stripe_in_memory(World(world.service, world.fault_free))


def keep_stripe_in_memory(world: World) -> World:
    """The world, its dummy Stripe's state in memory rather than in a table."""
    store: Any = MemoryStore()
    world.store = world.wire.store = store
    return world


def _die() -> NoReturn:
    raise Killed


def _raise(error: Exception) -> NoReturn:
    raise error


def _name_in_stripe(method: str, url: str) -> str:
    last = url.rpartition("/")[2]
    if last in {"payment_intents", "refunds"}:
        return {"payment_intents": "create", "refunds": "refund"}[last]
    return last if method.upper() == "POST" else "retrieve"


_WRITES = {
    "SET #payment = :payment, unsettledShard": "claim",
    "SET #status = :status, updatedAt": "settle",
    "SET #status = :status, #payment": "cancel unclaimed",
    "SET #status = :status, reason = :reason, updatedAt": "cancel unclaimed",
    "SET #status = :status, reason = :reason, #override": "settle by hand",
    "SET updatedAt = :now": "void",
    "SET refusedAttempts": "count refused attempt",
    "SET refund = :refund, unsettledShard": "owe refund",
    "SET refund = :refund REMOVE": "record refund",
    "SET unsettledSince": "postpone",
}
"""The writes of `OrdersTable` by how they begin."""


def _name_in_dynamodb(operation: str, request: Mapping[str, Any]) -> str:
    if operation in {"GetItem", "Query"}:
        return {"GetItem": "read", "Query": "find"}[operation]
    update = request["TransactItems"][0]["Update"] if operation == "TransactWriteItems" else request
    expression = update["UpdateExpression"]
    (name,) = (name for beginning, name in _WRITES.items() if expression.startswith(beginning))
    return f"settle {update['ExpressionAttributeValues'][':status']['S']}" if name == "settle" else name
