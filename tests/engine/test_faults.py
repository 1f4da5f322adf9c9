"""Every call that the service makes, with every fault on it: what is answered at once, and how the order ends.

A cell of the tables reads `answer end`: the status that the contract gives to what the service answers, and the order
when the fault is over and everything is reconciled. A `payable` one is then paid, to see that it can be.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import stripe
from botocore.exceptions import ClientError

from dummy_stripe.http_client import DummyStripeHTTPClient
from harness.dynamodb_local import client_of
from order_payments import payments
from order_payments.api.problems import PROBLEM_TYPES
from order_payments.domain.errors import OrderPaymentError
from order_payments.domain.orders import Order, OrderStatus
from order_payments.runtime.clock import Deadline, rfc3339, utc_now
from order_payments.storage.dynamodb import WriteRejected
from order_payments.storage.orders_table import UNSETTLED_SHARDS, Unsettled
from tests.support.fault_injection import (
    CONNECTION_CLOSED,
    TIMED_OUT,
    UNREACHABLE,
    Effect,
    Fault,
    Plan,
    client_error,
    dynamodb_error,
    fail_each,
    fail_from,
    fail_in_turn,
    inject_faults,
    reset_world,
    stripe_connection_error,
    stripe_response,
)
from tests.support.world import World

IN_STOCK = 5


@dataclass(frozen=True)
class Call:
    """A request of the service, and a payment in which it is made."""

    request: str
    card: str = "pm_card_visa"
    quantity: int = 2


@dataclass(frozen=True)
class Trouble:
    """What goes wrong with a call. What is late arrives once the service has answered, or even reconciled."""

    plan: Callable[[str], Plan]
    arrives_after_reconciling: bool = False


def all_calls(fault: Fault) -> Callable[[str], Plan]:
    return lambda request: fail_each(request, fault)


def first_tries(*faults: Fault) -> Callable[[str], Plan]:
    return lambda request: fail_in_turn(request, *faults)


NONE, DONE, LATE = Effect
THROTTLED = client_error("ThrottlingException", 400)
ODD_CODE = client_error("IncompleteSignatureException", 400)
HTML_500 = client_error("500", 500)
"""What botocore makes of a 500 whose body it cannot read."""

CALLS_TO_DYNAMODB = {
    "first read": Call("read"),
    "claim": Call("claim"),
    "settle confirmed": Call("settle confirmed"),
    "settle cancelled": Call("settle cancelled", card="pm_card_chargeDeclined"),
    "void": Call("void", card="pm_unknown"),
    "cancel unclaimed": Call("cancel unclaimed", quantity=IN_STOCK + 1),
}
TROUBLES_OF_DYNAMODB = {
    "no connection": Trouble(first_tries(dynamodb_error(NONE, UNREACHABLE))),
    "reply lost": Trouble(first_tries(dynamodb_error(DONE, CONNECTION_CLOSED))),
    "late": Trouble(first_tries(dynamodb_error(LATE, TIMED_OUT))),
    "later": Trouble(first_tries(dynamodb_error(LATE, TIMED_OUT)), arrives_after_reconciling=True),
    "throttled": Trouble(first_tries(dynamodb_error(NONE, THROTTLED))),
    "odd code": Trouble(first_tries(dynamodb_error(NONE, ODD_CODE))),
    "html": Trouble(first_tries(dynamodb_error(NONE, HTML_500))),
    "done, html": Trouble(first_tries(dynamodb_error(DONE, HTML_500))),
    "down": Trouble(
        lambda request: fail_from(request, dynamodb_error(NONE, UNREACHABLE), dynamodb_error(NONE, UNREACHABLE))
    ),
    "done, down": Trouble(
        lambda request: fail_from(request, dynamodb_error(DONE, CONNECTION_CLOSED), dynamodb_error(NONE, UNREACHABLE))
    ),
}
# An odd code is a request that DynamoDB does not take, of which nobody but us can be at fault: a 500.
EXPECTED_OF_DYNAMODB = """
                 | first read    claim          settle confirmed  settle cancelled  void           cancel unclaimed
no connection    | 503 payable   503 payable    202 confirmed     202 cancelled     202 cancelled  503 payable
reply lost       | 503 payable   200 confirmed  200 confirmed     402 cancelled     422 payable    422 cancelled
late             | 503 payable   503 cancelled  202 confirmed     202 cancelled     202 payable    503 cancelled
later            | 503 payable   503 cancelled  202 confirmed     202 cancelled     202 cancelled  503 cancelled
throttled        | 503 payable   503 payable    202 confirmed     202 cancelled     202 cancelled  503 payable
odd code         | 500 payable   500 payable    202 confirmed     202 cancelled     202 cancelled  500 payable
html             | 503 payable   503 payable    202 confirmed     202 cancelled     202 cancelled  503 payable
done, html       | 503 payable   200 confirmed  200 confirmed     402 cancelled     422 payable    422 cancelled
down             | 503 payable   503 payable    202 confirmed     202 cancelled     202 cancelled  503 payable
done, down       | 503 payable   503 cancelled  202 confirmed     202 cancelled     202 payable    503 cancelled
"""

CALLS_TO_STRIPE = {
    "create": Call("create"),
    "confirm": Call("confirm"),
    "confirm, declined": Call("confirm", card="pm_card_chargeDeclined"),
    "cancel as fence": Call("cancel", card="pm_card_chargeDeclined"),
    "cancel as tidiness": Call("cancel", quantity=IN_STOCK + 1),
}
CONFLICT = '{"error":{"type":"invalid_request_error","code":"idempotency_key_in_use","message":"no"}}'
LOCK_TIMEOUT = '{"error":{"type":"invalid_request_error","code":"lock_timeout","message":"no"}}'
RATE_LIMIT = '{"error":{"type":"invalid_request_error","code":"rate_limit","message":"no"}}'
REVOKED = '{"error":{"type":"invalid_request_error","code":"api_key_expired","message":"no"}}'
API_ERROR = '{"error":{"type":"api_error","message":"no"}}'
GARBAGE = "<html>bad gateway</html>"
TROUBLES_OF_STRIPE = {
    "no connection": Trouble(all_calls(stripe_connection_error(NONE))),
    "first try lost": Trouble(first_tries(stripe_connection_error(NONE))),
    "reply lost": Trouble(all_calls(stripe_connection_error(DONE))),
    "first reply lost": Trouble(first_tries(stripe_connection_error(DONE))),
    "late": Trouble(all_calls(stripe_connection_error(LATE))),
    "later": Trouble(all_calls(stripe_connection_error(LATE)), arrives_after_reconciling=True),
    "429": Trouble(all_calls(stripe_response(NONE, 429, RATE_LIMIT))),
    "429, lost": Trouble(first_tries(stripe_response(NONE, 429, RATE_LIMIT), stripe_connection_error(DONE))),
    "lost, 429s": Trouble(first_tries(stripe_connection_error(DONE), *[stripe_response(NONE, 429, RATE_LIMIT)] * 4)),
    "lock timeout": Trouble(all_calls(stripe_response(NONE, 429, LOCK_TIMEOUT))),
    "409": Trouble(all_calls(stripe_response(NONE, 409, CONFLICT))),
    "500": Trouble(all_calls(stripe_response(NONE, 500, API_ERROR))),
    "done, 500": Trouble(all_calls(stripe_response(DONE, 500, API_ERROR))),
    "first 500": Trouble(first_tries(stripe_response(DONE, 500, API_ERROR))),
    "garbage": Trouble(all_calls(stripe_response(NONE, 200, GARBAGE))),
    "done, garbage": Trouble(all_calls(stripe_response(DONE, 200, GARBAGE))),
    "garbage 500": Trouble(all_calls(stripe_response(DONE, 500, GARBAGE))),
    "401": Trouble(all_calls(stripe_response(NONE, 401, REVOKED))),
    "lost, 401": Trouble(first_tries(stripe_connection_error(DONE), stripe_response(NONE, 401, REVOKED))),
    "late, 401": Trouble(first_tries(stripe_connection_error(LATE), stripe_response(NONE, 401, REVOKED))),
}
EXPECTED_OF_STRIPE = """
                 | create         confirm        confirm, declined  cancel as fence  cancel as tidiness
no connection    | 502 payable    202 cancelled  202 cancelled      202 cancelled    422 cancelled
first try lost   | 200 confirmed  200 confirmed  402 cancelled      402 cancelled    422 cancelled
reply lost       | 502 payable    202 confirmed  202 cancelled      202 cancelled    422 cancelled
first reply lost | 200 confirmed  200 confirmed  402 cancelled      402 cancelled    422 cancelled
late             | 502 payable    202 confirmed  202 cancelled      202 cancelled    422 cancelled
later            | 502 payable    202 cancelled  202 cancelled      202 cancelled    422 cancelled
429              | 503 payable    503 payable    503 payable        202 cancelled    422 cancelled
429, lost        | 200 confirmed  200 confirmed  402 cancelled      402 cancelled    422 cancelled
lost, 429s       | 503 payable    202 confirmed  202 cancelled      202 cancelled    422 cancelled
lock timeout     | 503 payable    202 cancelled  202 cancelled      202 cancelled    422 cancelled
409              | 409 payable    202 cancelled  202 cancelled      202 cancelled    422 cancelled
500              | 502 payable    202 cancelled  202 cancelled      202 cancelled    422 cancelled
done, 500        | 502 payable    202 confirmed  202 cancelled      202 cancelled    422 cancelled
first 500        | 200 confirmed  200 confirmed  402 cancelled      402 cancelled    422 cancelled
garbage          | 502 payable    202 cancelled  202 cancelled      202 cancelled    422 cancelled
done, garbage    | 502 payable    202 confirmed  202 cancelled      202 cancelled    422 cancelled
garbage 500      | 502 payable    202 confirmed  202 cancelled      202 cancelled    422 cancelled
401              | 502 payable    502 payable    502 payable        202 cancelled    422 cancelled
lost, 401        | 502 payable    202 confirmed  202 cancelled      202 cancelled    422 cancelled
late, 401        | 502 payable    202 confirmed  202 cancelled      202 cancelled    422 cancelled
"""


def cells(table: str) -> list[Any]:
    """Parameters: the call, the trouble, the status that is answered, and how the order ends."""
    head, *rows = (line.split("|") for line in table.strip("\n").splitlines())
    calls = columns(head[1])
    return [
        pytest.param(call, trouble.strip(), *cell.split(), id=f"{call}-{trouble.strip()}")
        for trouble, row in rows
        for call, cell in zip(calls, columns(row), strict=True)
    ]


def columns(row: str) -> list[str]:
    return [cell.strip() for cell in row.split("  ") if cell.strip()]


@pytest.fixture(scope="module")
def tables(engine: str) -> World:
    return World.fresh(client_of(engine), client_of(engine))


@pytest.fixture
def world(tables: World) -> World:
    world = reset_world(tables)
    world.add_product("tea", IN_STOCK)
    return world


@pytest.mark.parametrize(("call", "trouble", "answered", "end"), cells(EXPECTED_OF_DYNAMODB))
def test_a_call_to_dynamodb_goes_wrong(world: World, call: str, trouble: str, answered: str, end: str) -> None:
    check(world, CALLS_TO_DYNAMODB[call], TROUBLES_OF_DYNAMODB[trouble], answered, end)


@pytest.mark.parametrize(("call", "trouble", "answered", "end"), cells(EXPECTED_OF_STRIPE))
def test_a_call_to_stripe_goes_wrong(world: World, call: str, trouble: str, answered: str, end: str) -> None:
    check(world, CALLS_TO_STRIPE[call], TROUBLES_OF_STRIPE[trouble], answered, end)


REPAIRED = "pm_dummy_timeout_after_charge"
CALLS_OF_THE_RECONCILER = {
    "dynamodb": ("read", "settle confirmed"),
    "stripe": ("cancel", "retrieve"),
}
TROUBLES = {"dynamodb": TROUBLES_OF_DYNAMODB, "stripe": TROUBLES_OF_STRIPE}


@pytest.mark.parametrize(
    ("request_name", "trouble"),
    [
        pytest.param(name, trouble, id=f"{name}-{label}")
        for to, names in CALLS_OF_THE_RECONCILER.items()
        for name in names
        for label, trouble in TROUBLES[to].items()
        if "first" not in label
    ],
)
def test_a_call_of_the_reconciler_goes_wrong_and_the_next_one_makes_it_good(
    world: World, request_name: str, trouble: Trouble
) -> None:
    order = world.place({"tea": 2})
    world.pay(order, REPAIRED)

    with inject_faults(world, trouble.plan(request_name)) as injection:
        status = status_of(lambda: reconcile(world, order))

    assert request_name in injection.names
    assert status in {200, 202, 500, 503}
    world.check_invariants()
    world.reconcile()
    injection.deliver_late()
    world.check_settled()
    assert end_of(world, order) == "confirmed"


@pytest.mark.parametrize("trouble", TROUBLES_OF_STRIPE.values(), ids=TROUBLES_OF_STRIPE)
def test_a_refund_goes_wrong_and_the_money_goes_back_once(world: World, trouble: Trouble) -> None:
    order, intent_id = late_money(world)

    with inject_faults(world, trouble.plan("refund")) as injection:
        follow(world, order, intent_id)

    assert "refund" in injection.names
    world.check_invariants()
    injection.deliver_late()
    world.reconcile()
    world.check_settled()
    assert refunds_of(world, order) == 1


@pytest.mark.parametrize("trouble", TROUBLES_OF_DYNAMODB.values(), ids=TROUBLES_OF_DYNAMODB)
@pytest.mark.parametrize("request_name", ["owe refund", "record refund"])
def test_a_note_of_a_refund_goes_wrong_and_the_money_goes_back_once(
    world: World, request_name: str, trouble: Trouble
) -> None:
    order, intent_id = late_money(world)

    with inject_faults(world, trouble.plan(request_name)) as injection:
        status_of(lambda: follow(world, order, intent_id))

    assert request_name in injection.names
    injection.deliver_late()
    follow(world, order, intent_id)  # Stripe sends again what was not received.
    world.reconcile()
    world.check_settled()
    assert refunds_of(world, order) == 1


@pytest.mark.parametrize("status", [OrderStatus.CONFIRMED, OrderStatus.CANCELLED])
@pytest.mark.parametrize(
    ("trouble", "answered", "end"),
    [
        ("no connection", 503, "payable"),
        ("reply lost", 200, "settled"),
        ("late", 503, "settled"),
        ("throttled", 503, "payable"),
        ("odd code", 500, "payable"),
        ("html", 503, "payable"),
        ("done, html", 200, "settled"),
        ("down", 503, "payable"),
        ("done, down", 503, "settled"),
    ],
)
def test_an_override_goes_wrong(world: World, status: OrderStatus, trouble: str, answered: int, end: str) -> None:
    order = world.place({"tea": 2})

    with inject_faults(world, TROUBLES_OF_DYNAMODB[trouble].plan("settle by hand")) as injection:
        answer = status_of(lambda: world.override(order, status))

    assert answer == answered
    world.check_settled()
    injection.deliver_late()
    world.check_settled()
    recorded = world.read_order(order)
    assert (recorded.status, recorded.is_payable) == ((status, False) if end == "settled" else ("pending", True))


def test_an_order_that_cannot_be_settled_yet_is_put_behind_the_others(world: World) -> None:
    order = world.place({"tea": 2})
    world.pay(order, "pm_dummy_processing")
    later = utc_now() + timedelta(minutes=1)

    world.orders.postpone(order.order_id, to=later)

    found = [
        entry
        for shard in UNSETTLED_SHARDS
        for entry in world.orders.unsettled(shard, before=later + timedelta(minutes=1), limit=1)
    ]
    assert found == [Unsettled(order.order_id, rfc3339(later))]


def reconcile(world: World, order: Order) -> Order | OrderPaymentError:
    try:
        return world.reconcile_one(order.order_id)
    except OrderPaymentError as error:
        return error


def follow(world: World, order: Order, intent_id: str) -> Order | OrderPaymentError:
    try:
        return payments.follow_intent(
            order.order_id, intent_id, orders=world.orders, stripe=world.stripe, deadline=Deadline.after(28)
        )
    except OrderPaymentError as error:
        return error


def late_money(world: World) -> tuple[Order, str]:
    """An order that was cancelled by hand after Stripe had refused to charge it, and its intent, charged by now."""
    order = world.place({"tea": 2})
    world.pay(order, "pm_unknown")
    world.override(order, OrderStatus.CANCELLED)
    (intent,) = world.store.intents()
    client = stripe.StripeClient("sk_test_somebody", http_client=DummyStripeHTTPClient(world.store))
    client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    return order, intent.id


def refunds_of(world: World, order: Order) -> int:
    return sum(len(charge.refunds) for charge in world.store.charges() if charge.metadata["orderId"] == order.order_id)


def check(world: World, call: Call, trouble: Trouble, answered: str, end: str) -> None:
    order = world.place({"tea": call.quantity})

    with inject_faults(world, trouble.plan(call.request)) as injection:
        status = status_of(lambda: world.pay(order, call.card))

    assert call.request in injection.names
    assert status == int(answered)
    world.check_invariants()
    if trouble.arrives_after_reconciling:
        world.reconcile()
        world.check_settled()
    if injection.late:
        injection.deliver_late()
        world.check_invariants()
    world.reconcile()
    world.check_settled()
    assert end_of(world, order) == end
    if end == "payable":
        status_of(lambda: world.pay(order))
        assert end_of(world, order) == ("cancelled" if call.quantity > IN_STOCK else "confirmed")


def status_of(do: Callable[[], Order | OrderPaymentError]) -> int:
    """The status that the edge answers with."""
    try:
        answer = do()
    except (ClientError, WriteRejected):
        return 500
    if isinstance(answer, OrderPaymentError):
        return PROBLEM_TYPES[type(answer)].status
    return 202 if answer.status is OrderStatus.PENDING else 200


def end_of(world: World, order: Order) -> str:
    """How the order is recorded: confirmed if it was charged, and only then."""
    recorded = world.read_order(order)
    assert (recorded.status is OrderStatus.CONFIRMED) == (world.charges_of(order) == 1)
    return "payable" if recorded.is_payable else recorded.status.value
