"""Each call of the service with each fault: the immediate response, and the order's final state.

A cell of the tables reads `response state`: the HTTP status of the response, and the order's state after the fault has
ended and the reconciler has run. An order that is `payable` is then paid.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import stripe
from botocore.exceptions import ClientError

from dummy_stripe import REFUND_CHANGE_SECONDS
from dummy_stripe.http_client import DummyStripeHTTPClient
from harness.dynamodb_local import client_of
from order_payments import payments
from order_payments.api.problems import PROBLEM_TYPES
from order_payments.domain.errors import OrderPaymentError
from order_payments.domain.orders import Order, OrderStatus
from order_payments.domain.refunds import RefundStatus
from order_payments.refunds import RefundResult
from order_payments.runtime.clock import Deadline, rfc3339, utc_now
from order_payments.storage.dynamodb import WriteRejected
from order_payments.storage.order_writes import UNSETTLED_SHARDS
from order_payments.storage.unsettled_index import Unsettled
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
    no_faults,
    reset_world,
    stripe_connection_error,
    stripe_response,
)
from tests.support.world import VALID_FOR, World

IN_STOCK = 5


@dataclass(frozen=True)
class Call:
    """A request of the service, and a payment that sends it."""

    request: str
    card: str = "pm_card_visa"
    quantity: int = 2
    is_expired: bool = False


@dataclass(frozen=True)
class FaultCase:
    """A fault of a call. A late request arrives after the response, or even after the reconciler."""

    plan: Callable[[str], Plan]
    arrives_after_reconciling: bool = False


def all_calls(fault: Fault) -> Callable[[str], Plan]:
    return lambda request: fail_each(request, fault)


def first_tries(*faults: Fault) -> Callable[[str], Plan]:
    return lambda request: fail_in_turn(request, *faults)


NONE, DONE, LATE = Effect
THROTTLED = client_error("ThrottlingException", 400)
BAD_REQUEST = client_error("IncompleteSignatureException", 400)
HTML_500 = client_error("500", 500)
"""The error that botocore raises for a 500 response that it cannot parse."""

DYNAMODB_CALLS = {
    "first read": Call("read"),
    "claim": Call("claim"),
    "settle paid": Call("settle confirmed"),
    "settle unpaid": Call("settle cancelled", card="pm_card_chargeDeclined"),
    "void": Call("void", card="pm_unknown"),
    "out of stock": Call("cancel unclaimed", quantity=IN_STOCK + 1),
    "expired": Call("cancel unclaimed", is_expired=True),
}
DYNAMODB_FAULTS = {
    "no connection": FaultCase(first_tries(dynamodb_error(NONE, UNREACHABLE))),
    "reply lost": FaultCase(first_tries(dynamodb_error(DONE, CONNECTION_CLOSED))),
    "late": FaultCase(first_tries(dynamodb_error(LATE, TIMED_OUT))),
    "later": FaultCase(first_tries(dynamodb_error(LATE, TIMED_OUT)), arrives_after_reconciling=True),
    "throttled": FaultCase(first_tries(dynamodb_error(NONE, THROTTLED))),
    "bad request": FaultCase(first_tries(dynamodb_error(NONE, BAD_REQUEST))),
    "html": FaultCase(first_tries(dynamodb_error(NONE, HTML_500))),
    "done, html": FaultCase(first_tries(dynamodb_error(DONE, HTML_500))),
    "down": FaultCase(
        lambda request: fail_from(request, dynamodb_error(NONE, UNREACHABLE), dynamodb_error(NONE, UNREACHABLE))
    ),
    "done, down": FaultCase(
        lambda request: fail_from(request, dynamodb_error(DONE, CONNECTION_CLOSED), dynamodb_error(NONE, UNREACHABLE))
    ),
}
# "bad request": DynamoDB rejects a request of the service. That is a bug of the service, which responds 500.
DYNAMODB_EXPECTATIONS = """
              | first read   claim          settle paid    settle unpaid  void           out of stock   expired
no connection | 503 payable  503 payable    202 confirmed  202 cancelled  202 cancelled  503 payable    503 payable
reply lost    | 503 payable  200 confirmed  200 confirmed  402 cancelled  422 payable    422 cancelled  409 cancelled
late          | 503 payable  503 cancelled  202 confirmed  202 cancelled  202 payable    503 cancelled  503 cancelled
later         | 503 payable  503 cancelled  202 confirmed  202 cancelled  202 cancelled  503 cancelled  503 cancelled
throttled     | 503 payable  503 payable    202 confirmed  202 cancelled  202 cancelled  503 payable    503 payable
bad request   | 500 payable  500 payable    202 confirmed  202 cancelled  202 cancelled  500 payable    500 payable
html          | 503 payable  503 payable    202 confirmed  202 cancelled  202 cancelled  503 payable    503 payable
done, html    | 503 payable  200 confirmed  200 confirmed  402 cancelled  422 payable    422 cancelled  409 cancelled
down          | 503 payable  503 payable    202 confirmed  202 cancelled  202 cancelled  503 payable    503 payable
done, down    | 503 payable  503 cancelled  202 confirmed  202 cancelled  202 payable    503 cancelled  503 cancelled
"""

STRIPE_CALLS = {
    "create": Call("create"),
    "confirm": Call("confirm"),
    "confirm, declined": Call("confirm", card="pm_card_chargeDeclined"),
    "cancel as fence": Call("cancel", card="pm_card_chargeDeclined"),
    "cancel, no stock": Call("cancel", quantity=IN_STOCK + 1),
}
CONFLICT = '{"error":{"type":"invalid_request_error","code":"idempotency_key_in_use","message":"no"}}'
LOCK_TIMEOUT = '{"error":{"type":"invalid_request_error","code":"lock_timeout","message":"no"}}'
RATE_LIMIT = '{"error":{"type":"invalid_request_error","code":"rate_limit","message":"no"}}'
REVOKED = '{"error":{"type":"invalid_request_error","code":"api_key_expired","message":"no"}}'
API_ERROR = '{"error":{"type":"api_error","message":"no"}}'
GARBAGE = "<html>bad gateway</html>"
STRIPE_FAULTS = {
    "no connection": FaultCase(all_calls(stripe_connection_error(NONE))),
    "first try lost": FaultCase(first_tries(stripe_connection_error(NONE))),
    "reply lost": FaultCase(all_calls(stripe_connection_error(DONE))),
    "first reply lost": FaultCase(first_tries(stripe_connection_error(DONE))),
    "late": FaultCase(all_calls(stripe_connection_error(LATE))),
    "later": FaultCase(all_calls(stripe_connection_error(LATE)), arrives_after_reconciling=True),
    "429": FaultCase(all_calls(stripe_response(NONE, 429, RATE_LIMIT))),
    "429, lost": FaultCase(first_tries(stripe_response(NONE, 429, RATE_LIMIT), stripe_connection_error(DONE))),
    "lost, 429s": FaultCase(first_tries(stripe_connection_error(DONE), *[stripe_response(NONE, 429, RATE_LIMIT)] * 4)),
    "lock timeout": FaultCase(all_calls(stripe_response(NONE, 429, LOCK_TIMEOUT))),
    "409": FaultCase(all_calls(stripe_response(NONE, 409, CONFLICT))),
    "500": FaultCase(all_calls(stripe_response(NONE, 500, API_ERROR))),
    "done, 500": FaultCase(all_calls(stripe_response(DONE, 500, API_ERROR))),
    "first 500": FaultCase(first_tries(stripe_response(DONE, 500, API_ERROR))),
    "garbage": FaultCase(all_calls(stripe_response(NONE, 200, GARBAGE))),
    "done, garbage": FaultCase(all_calls(stripe_response(DONE, 200, GARBAGE))),
    "garbage 500": FaultCase(all_calls(stripe_response(DONE, 500, GARBAGE))),
    "401": FaultCase(all_calls(stripe_response(NONE, 401, REVOKED))),
    "lost, 401": FaultCase(first_tries(stripe_connection_error(DONE), stripe_response(NONE, 401, REVOKED))),
    "late, 401": FaultCase(first_tries(stripe_connection_error(LATE), stripe_response(NONE, 401, REVOKED))),
}
STRIPE_EXPECTATIONS = """
                 | create         confirm        confirm, declined  cancel as fence  cancel, no stock
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


REFUND_EXPECTATIONS = """
                 | owe refund    record refund
no connection    | 503 paid      202 refunded
reply lost       | 201 refunded  201 refunded
late             | 503 refunded  202 refunded
later            | 503 refunded  202 refunded
throttled        | 503 paid      202 refunded
bad request      | 500 paid      202 refunded
html             | 503 paid      202 refunded
done, html       | 201 refunded  201 refunded
down             | 503 paid      202 refunded
done, down       | 503 refunded  202 refunded
"""
STRIPE_REFUND_EXPECTATIONS = """
                 | refund
no connection    | 202 refunded
first try lost   | 201 refunded
reply lost       | 202 refunded
first reply lost | 201 refunded
late             | 202 refunded
later            | 202 refunded
429              | 202 refunded
429, lost        | 201 refunded
lost, 429s       | 202 refunded
lock timeout     | 202 refunded
409              | 202 refunded
500              | 202 refunded
done, 500        | 202 refunded
first 500        | 201 refunded
garbage          | 202 refunded
done, garbage    | 202 refunded
garbage 500      | 202 refunded
401              | 202 refunded
lost, 401        | 202 refunded
late, 401        | 202 refunded
"""


def parse_cells(table: str) -> list[Any]:
    """Return test parameters: the call, the fault, the expected HTTP status and the order's final state."""
    head, *rows = (line.split("|") for line in table.strip("\n").splitlines())
    calls = parse_columns(head[1])
    return [
        pytest.param(call, fault.strip(), *cell.split(), id=f"{call}-{fault.strip()}")
        for fault, row in rows
        for call, cell in zip(calls, parse_columns(row), strict=True)
    ]


def parse_columns(row: str) -> list[str]:
    return [cell.strip() for cell in row.split("  ") if cell.strip()]


@pytest.fixture(scope="module")
def tables(engine: str) -> World:
    return World.fresh(client_of(engine), client_of(engine))


@pytest.fixture
def world(tables: World) -> World:
    world = reset_world(tables)
    world.add_product("tea", IN_STOCK)
    return world


@pytest.mark.parametrize(("call", "fault", "expected_status", "end"), parse_cells(DYNAMODB_EXPECTATIONS))
def test_dynamodb_fault_gives_expected_response_and_outcome(
    world: World, call: str, fault: str, expected_status: str, end: str
) -> None:
    check_payment(world, DYNAMODB_CALLS[call], DYNAMODB_FAULTS[fault], expected_status, end)


@pytest.mark.parametrize(("call", "fault", "expected_status", "end"), parse_cells(STRIPE_EXPECTATIONS))
def test_stripe_fault_gives_expected_response_and_outcome(
    world: World, call: str, fault: str, expected_status: str, end: str
) -> None:
    check_payment(world, STRIPE_CALLS[call], STRIPE_FAULTS[fault], expected_status, end)


UNKNOWN_OUTCOME_CARD = "pm_dummy_timeout_after_charge"
RECONCILER_CALLS = {
    "dynamodb": ("read", "settle confirmed"),
    "stripe": ("cancel", "retrieve"),
}
FAULTS = {"dynamodb": DYNAMODB_FAULTS, "stripe": STRIPE_FAULTS}


@pytest.mark.parametrize(
    ("request_name", "fault"),
    [
        pytest.param(name, fault, id=f"{name}-{label}")
        for to, names in RECONCILER_CALLS.items()
        for name in names
        for label, fault in FAULTS[to].items()
        if "first" not in label
    ],
)
def test_next_reconciler_settles_order_after_fault_in_reconciler(
    world: World, request_name: str, fault: FaultCase
) -> None:
    order = world.place({"tea": 2})
    world.pay(order, UNKNOWN_OUTCOME_CARD)

    with inject_faults(world, fault.plan(request_name)) as injection:
        status = status_of(lambda: reconcile(world, order))

    assert request_name in injection.names
    assert status in {200, 202, 500, 503}
    world.check_invariants()
    world.reconcile()
    injection.deliver_late()
    world.check_settled()
    assert end_of(world, order) == "confirmed"


@pytest.mark.parametrize(("call", "fault", "expected_status", "end"), parse_cells(REFUND_EXPECTATIONS))
def test_dynamodb_fault_during_staff_refund_refunds_at_most_once(
    world: World, call: str, fault: str, expected_status: str, end: str
) -> None:
    check_staff_refund(world, call, DYNAMODB_FAULTS[fault], expected_status, end)


@pytest.mark.parametrize(("call", "fault", "expected_status", "end"), parse_cells(STRIPE_REFUND_EXPECTATIONS))
def test_stripe_fault_during_staff_refund_refunds_once(
    world: World, call: str, fault: str, expected_status: str, end: str
) -> None:
    check_staff_refund(world, call, STRIPE_FAULTS[fault], expected_status, end)


REFUND_RECONCILER_CALLS = {
    "dynamodb": [("record refund", "pm_card_visa")],
    "stripe": [
        ("list refunds", "pm_card_visa"),
        ("refund", "pm_card_visa"),
        ("retrieve refund", "pm_card_pendingRefund"),
    ],
}
"""The reconciler's requests for a refund that is owed, or pending, by the card that paid."""


@pytest.mark.parametrize(
    ("request_name", "card", "fault"),
    [
        pytest.param(name, card, fault, id=f"{name}-{label}")
        for to, calls in REFUND_RECONCILER_CALLS.items()
        for name, card in calls
        for label, fault in FAULTS[to].items()
    ],
)
def test_next_reconciler_finishes_refund_after_fault_in_reconciler(
    world: World, request_name: str, card: str, fault: FaultCase
) -> None:
    order = owing_order(world, card)

    with inject_faults(world, fault.plan(request_name)) as injection:
        status = status_of(lambda: reconcile(world, order))

    assert request_name in injection.names
    assert status in {200, 500, 503}
    world.check_invariants()
    injection.deliver_late()
    world.reconcile()
    world.check_settled()
    assert (refunds_of(world, order), world.refunded_at_stripe(order)) == (1, 1000)


REFUND_EVENT_CALLS = {"dynamodb": ["read", "record refund"], "stripe": ["retrieve refund"]}


@pytest.mark.parametrize(
    ("request_name", "fault"),
    [
        pytest.param(name, fault, id=f"{name}-{label}")
        for to, names in REFUND_EVENT_CALLS.items()
        for name in names
        for label, fault in FAULTS[to].items()
    ],
)
def test_event_of_a_failed_refund_is_recorded_or_sent_again(world: World, request_name: str, fault: FaultCase) -> None:
    order = world.place({"tea": 2})
    world.pay(order)
    world.refund(order, 1000, restock={"tea": 1})
    ((refund,),) = (charge.refunds for charge in world.charges_at_stripe(order))
    world.fail_refund(refund.id)

    with inject_faults(world, fault.plan(request_name)) as injection:
        status = status_of(lambda: world.follow_refund(refund.id))

    assert request_name in injection.names
    is_recorded = [refund.status for refund in world.read_order(order).refunds] == [RefundStatus.FAILED]
    assert status in ({200} if is_recorded else {500, 503}) | {503}
    injection.deliver_late()
    world.follow_refund(refund.id)
    assert [refund.status for refund in world.read_order(order).refunds] == [RefundStatus.FAILED]
    world.check_settled()


@pytest.mark.parametrize("fault", STRIPE_FAULTS.values(), ids=STRIPE_FAULTS)
def test_fault_during_refund_refunds_once(world: World, fault: FaultCase) -> None:
    order, intent_id = charge_after_refusal(world)

    with inject_faults(world, fault.plan("refund")) as injection:
        follow_intent(world, order, intent_id)

    assert "refund" in injection.names
    world.check_invariants()
    injection.deliver_late()
    world.reconcile()
    world.check_settled()
    assert refunds_of(world, order) == 1


@pytest.mark.parametrize("fault", DYNAMODB_FAULTS.values(), ids=DYNAMODB_FAULTS)
@pytest.mark.parametrize("request_name", ["owe refund", "record refund"])
def test_fault_while_recording_refund_refunds_once(world: World, request_name: str, fault: FaultCase) -> None:
    order, intent_id = charge_after_refusal(world)

    with inject_faults(world, fault.plan(request_name)) as injection:
        status_of(lambda: follow_intent(world, order, intent_id))

    assert request_name in injection.names
    injection.deliver_late()
    follow_intent(world, order, intent_id)  # Stripe retries an event until it is acknowledged.
    world.reconcile()
    world.check_settled()
    assert refunds_of(world, order) == 1


@pytest.mark.parametrize("status", [OrderStatus.CONFIRMED, OrderStatus.CANCELLED])
@pytest.mark.parametrize(
    ("fault", "expected_status", "end"),
    [
        ("no connection", 503, "payable"),
        ("reply lost", 200, "settled"),
        ("late", 503, "settled"),
        ("throttled", 503, "payable"),
        ("bad request", 500, "payable"),
        ("html", 503, "payable"),
        ("done, html", 200, "settled"),
        ("down", 503, "payable"),
        ("done, down", 503, "settled"),
    ],
)
def test_override_with_dynamodb_fault_settles_or_stays_payable(
    world: World, status: OrderStatus, fault: str, expected_status: int, end: str
) -> None:
    order = world.place({"tea": 2})

    with inject_faults(world, DYNAMODB_FAULTS[fault].plan("settle by hand")) as injection:
        answer = status_of(lambda: world.override(order, status))

    assert answer == expected_status
    world.check_settled()
    injection.deliver_late()
    world.check_settled()
    recorded = world.read_order(order)
    assert (recorded.status, recorded.is_payable) == ((status, False) if end == "settled" else ("pending", True))


def test_postponed_order_moves_back_in_the_unsettled_index(world: World) -> None:
    order = world.place({"tea": 2})
    world.pay(order, "pm_dummy_processing")
    later = utc_now() + timedelta(minutes=1)

    world.orders.unsettled.postpone(order.order_id, to=later)

    found = [
        entry
        for shard in UNSETTLED_SHARDS
        for entry in world.orders.unsettled.entries(shard, before=later + timedelta(minutes=1), limit=1)
    ]
    assert found == [Unsettled(order.order_id, rfc3339(later))]


def reconcile(world: World, order: Order) -> Order | OrderPaymentError:
    try:
        return world.reconcile_one(order.order_id)
    except OrderPaymentError as error:
        return error


def follow_intent(world: World, order: Order, intent_id: str) -> Order | OrderPaymentError:
    try:
        return payments.follow_intent(
            order.order_id, intent_id, orders=world.orders, stripe=world.stripe, deadline=Deadline.after(28)
        )
    except OrderPaymentError as error:
        return error


def charge_after_refusal(world: World) -> tuple[Order, str]:
    """Charge an order after its payment was refused and an admin cancelled it. Return it and its intent."""
    order = world.place({"tea": 2})
    world.pay(order, "pm_unknown")
    world.override(order, OrderStatus.CANCELLED)
    (intent,) = world.store.intents()
    client = stripe.StripeClient("sk_test_external", http_client=DummyStripeHTTPClient(world.store))
    client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    return order, intent.id


def refunds_of(world: World, order: Order) -> int:
    return sum(len(charge.refunds) for charge in world.store.charges() if charge.metadata["orderId"] == order.order_id)


def check_payment(world: World, call: Call, fault: FaultCase, expected_status: str, end: str) -> None:
    order = world.place({"tea": call.quantity}, at=utc_now() - VALID_FOR if call.is_expired else None)

    with inject_faults(world, fault.plan(call.request)) as injection:
        status = status_of(lambda: world.pay(order, call.card))

    assert call.request in injection.names
    assert status == int(expected_status)
    world.check_invariants()
    if fault.arrives_after_reconciling:
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
        is_unpayable = call.is_expired or call.quantity > IN_STOCK
        assert end_of(world, order) == ("cancelled" if is_unpayable else "confirmed")


def owing_order(world: World, card: str) -> Order:
    """Return an order with a refund that is not known to be sent, or that was pending and is due."""
    order = world.place({"tea": 2})
    world.pay(order, card)
    plan = no_faults if card == "pm_card_pendingRefund" else fail_each("refund", stripe_connection_error(NONE))
    with inject_faults(world, plan):
        world.refund(order, 1000, restock={"tea": 1})
    clock = world.wire.clock
    world.wire.clock = lambda: clock() + REFUND_CHANGE_SECONDS
    return order


def check_staff_refund(world: World, request: str, fault: FaultCase, expected_status: str, end: str) -> None:
    order = world.place({"tea": 2})
    world.pay(order)

    with inject_faults(world, fault.plan(request)) as injection:
        status = status_of(lambda: world.refund(order, 1000, restock={"tea": 1}))

    assert request in injection.names
    assert status == int(expected_status)
    world.check_invariants()
    if fault.arrives_after_reconciling:
        world.reconcile()
        world.check_settled()
    injection.deliver_late()
    world.check_invariants()
    world.reconcile()
    world.check_settled()
    is_refunded = end == "refunded"
    assert (refunds_of(world, order), world.refunded_at_stripe(order)) == (is_refunded, 1000 * is_refunded)
    assert world.stock("tea") == (IN_STOCK - 2 + is_refunded,) * 2


def status_of(action: Callable[[], Order | RefundResult | OrderPaymentError | None]) -> int:
    """Return the HTTP status that the API responds with."""
    try:
        answer = action()
    except (ClientError, WriteRejected):
        return 500
    if isinstance(answer, OrderPaymentError):
        return PROBLEM_TYPES[type(answer)].status
    if isinstance(answer, RefundResult):
        return 201 if answer.refund.status is RefundStatus.SUCCEEDED else 202
    assert answer is not None
    return 202 if answer.status is OrderStatus.PENDING else 200


def end_of(world: World, order: Order) -> str:
    """Return the order's recorded state. Checks that it is confirmed if, and only if, it was charged."""
    recorded = world.read_order(order)
    assert (recorded.status is OrderStatus.CONFIRMED) == (world.charges_of(order) == 1)
    return "payable" if recorded.is_payable else recorded.status.value
