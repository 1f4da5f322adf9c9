"""Fault injection for the service's requests to DynamoDB and Stripe, each of which is counted and can fail.

with inject_faults(world, kill_at("confirm", Effect.DONE)) as injection, pytest.raises(Killed):
    world.pay(order)

`World`'s fault-free client and the dummy Stripe's own requests are neither faulted nor counted.
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
    """Simulates the death of the process. `except Exception` does not catch it."""


class Effect(StrEnum):
    """The effect of a faulty request: none, before the fault, or late."""

    NONE = "before"
    DONE = "after"
    LATE = "late"
    """It takes effect at `Injection.deliver_late`, after its sender timed out."""


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request that leaves the service: zero-based index, name by purpose, target, and one-based occurrence."""

    index: int
    name: str
    to: str
    occurrence: int = 1

    @property
    def label(self) -> str:
        """The name with the occurrence from the second on: `confirm`, then `confirm 2`."""
        return self.name if self.occurrence == 1 else f"{self.name} {self.occurrence}"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a request. `reply` raises the error or returns Stripe's response."""

    effect: Effect
    reply: Callable[[], StripeAnswer]


Plan = Callable[[SentRequest], Fault | None]
"""Returns the fault of a request, or `None`."""


@dataclass(slots=True)
class Injection:
    """The requests that were sent, in order, and the late ones that are still in flight."""

    sent: list[SentRequest] = field(default_factory=list)
    late: list[Callable[[], object]] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        """The requests by name, in order."""
        return tuple(request.name for request in self.sent)

    @property
    def requests(self) -> tuple[str, ...]:
        """The requests by label, in order."""
        return tuple(request.label for request in self.sent)

    def deliver_late(self) -> None:
        """Deliver the late requests and discard the responses."""
        while self.late:
            with suppress(ClientError, stripe.APIConnectionError):
                self.late.pop(0)()


def no_faults(_: SentRequest) -> None:
    """Inject no fault: only record the requests."""


def kill_at(label: str, effect: Effect) -> Plan:
    """Kill the process at a request, named as in `SentRequest.label`, before or after the request takes effect."""
    return lambda sent: Fault(effect, _die) if sent.label == label else None


def kill_at_index(index: int, effect: Effect) -> Plan:
    """Kill the process at its request with this zero-based index, before or after the request takes effect."""
    return lambda sent: Fault(effect, _die) if sent.index == index else None


def delay_at(index: int) -> Plan:
    """Delay the request with this zero-based index, and all later ones of its name, beyond the service's timeout."""
    late: set[str] = set()

    def plan(sent: SentRequest) -> Fault | None:
        if sent.index == index:
            late.add(sent.name)
        if sent.name not in late:
            return None
        return stripe_connection_error(Effect.LATE) if sent.to == "stripe" else dynamodb_error(Effect.LATE, TIMED_OUT)

    return plan


def fail_each(name: str, fault: Fault) -> Plan:
    """Fail every request of that name."""
    return lambda sent: fault if sent.name == name else None


def fail_in_turn(name: str, *faults: Fault) -> Plan:
    """Fail the first requests of that name, with one fault each."""
    left = list(faults)
    return lambda sent: left.pop(0) if left and sent.name == name else None


def fail_from(name: str, first: Fault, then: Fault) -> Plan:
    """Fail the first request of that name, and then every request to the same service."""
    down: set[str] = set()

    def plan(sent: SentRequest) -> Fault | None:
        if sent.to in down:
            return then
        if sent.name != name:
            return None
        down.add(sent.to)
        return first

    return plan


@contextmanager
def inject_faults(world: World, plan: Plan = no_faults) -> Iterator[Injection]:
    """Apply `plan` to the requests of the world's service inside the block, and record them."""
    injection = Injection()
    dead: list[Killed] = []

    def arrive(name: str, to: str) -> Fault | None:
        if dead:
            raise dead[0]
        occurrence = 1 + injection.names.count(name)
        sent = SentRequest(len(injection.sent), name, to, occurrence)
        injection.sent.append(sent)
        return plan(sent)

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
            # The dummy also raises for its timeout cards. Here only the effect counts.
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
    """Return a fault in which the SDK raises `error`."""
    return Fault(effect, partial(_raise, error))


def stripe_connection_error(effect: Effect) -> Fault:
    """Return a fault in which no response arrives. The SDK retries it."""
    error = stripe.APIConnectionError("no response", should_retry=True)  # type: ignore[no-untyped-call]  # the SDK has no types here
    return Fault(effect, partial(_raise, error))


def stripe_response(effect: Effect, status: int, body: str) -> Fault:
    """Return a fault in which Stripe, or a proxy before it, sends this response."""
    return Fault(effect, lambda: (body, status, {}))


def client_error(code: str, status: int) -> ClientError:
    """Return the error of a DynamoDB response with this code."""
    answer: Any = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "")


UNREACHABLE = EndpointConnectionError(endpoint_url="http://dynamodb.invalid")
CONNECTION_CLOSED = ConnectionClosedError(endpoint_url="http://dynamodb.invalid")
TIMED_OUT = ReadTimeoutError(endpoint_url="http://dynamodb.invalid")


def run_before(collaborator: object, method: str, action: Callable[[], object]) -> None:
    """Run `action` right before the next call of a collaborator's `method`."""
    original = getattr(collaborator, method)

    def call(*args: Any, **kwargs: Any) -> Any:
        setattr(collaborator, method, original)
        action()
        return original(*args, **kwargs)

    setattr(collaborator, method, call)


def reset_world(world: World) -> World:
    """Return a world with empty tables, like `World.fresh`, but reuse the tables and keep Stripe's state in memory.

    Both save time: a test may need hundreds of worlds.
    """
    for table, key in (("OrdersTable", "orderId"), ("ProductsTable", "productId")):
        found = world.fault_free.scan(TableName=table, ConsistentRead=True, ProjectionExpression=key)["Items"]
        for start in range(0, len(found), 25):  # BatchWriteItem's limit
            deletions: Any = [{"DeleteRequest": {"Key": item}} for item in found[start : start + 25]]
            world.fault_free.batch_write_item(RequestItems={table: deletions})
    return keep_stripe_in_memory(World(world.service, world.fault_free))


def keep_stripe_in_memory(world: World) -> World:
    """Keep the state of the world's dummy Stripe in memory instead of a table."""
    store: Any = MemoryStore()
    world.store = world.wire.store = store
    return world


def _die() -> NoReturn:
    raise Killed


def _raise(error: Exception) -> NoReturn:
    raise error


def _name_in_stripe(method: str, url: str) -> str:
    parts = url.partition("?")[0].split("/")
    last = parts[-1]
    if last == "refunds":
        return "refund" if method.upper() == "POST" else "list refunds"
    if last == "payment_intents":
        return "create"
    if parts[-2] == "refunds":
        return "retrieve refund"
    return last if method.upper() == "POST" else "retrieve"


_WRITES = {
    "SET #payment = :payment, unsettledShard": "claim",
    "SET #status = :status, updatedAt": "settle",
    "SET #status = :status, reason = :reason, updatedAt": "cancel unclaimed",
    "SET #status = :status, reason = :reason, #override": "settle by hand",
    "SET updatedAt = :now": "void",
    "SET refusedAttempts": "count refused attempt",
    "SET unsettledSince": "postpone",
}
"""The writes of `OrdersTable` by the start of their update expression."""


def _name_in_dynamodb(operation: str, request: Mapping[str, Any]) -> str:
    if operation in {"GetItem", "Query"}:
        return {"GetItem": "read", "Query": "find"}[operation]
    update = request["TransactItems"][0]["Update"] if operation == "TransactWriteItems" else request
    expression = update["UpdateExpression"]
    if "refundsVersion = :version" in expression:
        return "owe refund" if "{'S': 'owed'}" in str(update["ExpressionAttributeValues"]) else "record refund"
    (name,) = (name for beginning, name in _WRITES.items() if expression.startswith(beginning))
    return f"settle {update['ExpressionAttributeValues'][':status']['S']}" if name == "settle" else name
