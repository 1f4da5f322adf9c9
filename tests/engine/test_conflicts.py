"""Conflicts, throttling and lost messages of DynamoDB writes. The tests inject them, since no emulator produces them.

The clock is simulated: only pauses and slow responses take time.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from order_payments import payments
from order_payments.domain.errors import (
    Busy,
    InsufficientStock,
    InvalidPaymentMethod,
    OrderNotPending,
    PaymentFailed,
    PaymentInProgress,
)
from order_payments.domain.orders import Order, OrderStatus, PaymentAttempt
from order_payments.runtime import clock as service_clock
from order_payments.runtime import retry_budgets
from order_payments.runtime.clock import Deadline, utc_now
from order_payments.runtime.retry_budgets import (
    BACKOFF_FIRST_SECONDS,
    BACKOFF_LONGEST_SECONDS,
    CLAIM_BUDGET_SECONDS,
    SETTLE_BUDGET_SECONDS,
)
from order_payments.storage.dynamodb import WriteRejected
from tests.support.world import World

TRANSACTIONS = ("claim", "settle_confirmed", "settle_cancelled", "void", "settle_by_hand")
REFUNDS = ("owe_refund", "record_refund")
"""Transactions of the order alone, if nothing is put back on the shelf."""
SINGLE_WRITES = ("cancel_unclaimed",)

RETRYABLE_REASONS = ("TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded")
SERVER_ERRORS = ("InternalServerError", "ServiceUnavailableException")
ERROR_CODES = (
    "ThrottlingException",
    "RequestLimitExceeded",
    "TransactionInProgressException",
    *SERVER_ERRORS,
    "ProvisionedThroughputExceededException",
)

BASKET = {"cup": 2, "tea": 1}
POSITIONS = range(1 + len(BASKET))

PENDING, CONFIRMED, CANCELLED = OrderStatus

Request = dict[str, Any]
Answer = tuple[Any, dict[str, Any]]


class Clock:
    """A clock that advances only by `sleep`. `draw` replaces the random choice of a pause below its limit."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.limits: list[tuple[float, float]] = []
        self.pauses: list[float] = []
        self.draw: Callable[[float], float] = lambda limit: limit

    def monotonic(self) -> float:
        return self.now

    def uniform(self, low: float, high: float) -> float:
        self.limits.append((low, high))
        return self.draw(high)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(service_clock, "time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr(retry_budgets, "time", SimpleNamespace(sleep=clock.sleep))
    monkeypatch.setattr(retry_budgets, "random", SimpleNamespace(uniform=clock.uniform))
    return clock


@dataclass(frozen=True)
class Fault:
    """A fault of a request: a response in place of DynamoDB's, or an action after DynamoDB's response."""

    answer: Callable[[], Answer | None] = lambda: None
    after: Callable[[dict[str, Any]], None] = lambda _: None


def transaction_cancelled(*reasons: str | None) -> Fault:
    """Return a fault that cancels the transaction, with a reason per position."""
    listed = [{"Code": reason or "None", "Message": "injected"} for reason in reasons]
    return Fault(lambda: _error("TransactionCanceledException", CancellationReasons=listed))


def conflict_at(position: int, reason: str = "TransactionConflict") -> Fault:
    return transaction_cancelled(*(reason if at == position else None for at in POSITIONS))


def error_response(code: str) -> Fault:
    return Fault(lambda: _error(code))


def lost_request(error: Exception) -> Fault:
    """Return a fault in which the request does not arrive."""

    def lose() -> None:
        raise error

    return Fault(lose)


def lost_reply(error: Exception) -> Fault:
    """Return a fault in which the request takes effect and its reply is lost."""

    def lose(_: dict[str, Any]) -> None:
        raise error

    return Fault(after=lose)


def slow_response(clock: Clock, seconds: float, then: Fault | None = None) -> Fault:
    """Return a fault that delays the response."""

    def wait() -> Answer | None:
        clock.now += seconds
        return then.answer() if then else None

    return Fault(wait)


def add_conflicts(parsed: dict[str, Any]) -> None:
    """Turn every `None` reason of a cancelled transaction into a conflict."""
    for reason in parsed["CancellationReasons"]:
        if reason["Code"] == "None":
            reason["Code"] = "TransactionConflict"


def _error(code: str, **more: Any) -> Answer:
    status = 500 if code in SERVER_ERRORS else 400
    http = SimpleNamespace(status_code=status)
    return http, {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}, **more}


TIMED_OUT = ReadTimeoutError(endpoint_url="http://dynamodb")
CLOSED = ConnectionClosedError(endpoint_url="http://dynamodb")
UNREACHABLE = EndpointConnectionError(endpoint_url="http://dynamodb")
FAILED_AFTER_EFFECT = ClientError(
    {"Error": {"Code": "InternalServerError"}, "ResponseMetadata": {"HTTPStatusCode": 500}}, "TransactWriteItems"
)
THROTTLED = error_response("ThrottlingException")
UNREACHABLE_REQUEST = lost_request(UNREACHABLE)


@dataclass
class FaultQueue:
    """The faults of the service's writes, by method of the orders table.

    Each write takes the next fault of its method. Reads, and writes without a fault left, pass.
    """

    step: str | None = None
    tries: Counter[str | None] = field(default_factory=Counter)
    _queued: dict[str, list[Fault]] = field(default_factory=dict)
    _always: dict[str, Fault] = field(default_factory=dict)

    def inject(self, step: str, *faults: Fault) -> None:
        self._queued[step] = list(faults)

    def inject_always(self, step: str, fault: Fault) -> None:
        self._always[step] = fault

    def clear(self) -> None:
        assert not any(self._queued.values())
        self._always.clear()

    def before_call(self, context: dict[str, Any], **_: Any) -> Answer | None:
        self.tries[self.step] += 1
        queued = self._queued.get(self.step or "")
        fault = queued.pop(0) if queued else self._always.get(self.step or "")
        context["fault"] = fault
        return fault.answer() if fault else None

    def after_call(self, parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        if context.get("fault"):
            context["fault"].after(parsed)


@pytest.fixture
def world(world: World) -> World:
    for product_id in BASKET:
        world.add_product(product_id, 5)
    return world


@pytest.fixture
def faults(world: World, monkeypatch: pytest.MonkeyPatch) -> FaultQueue:
    faults = FaultQueue()

    def track_step(step: str, method: Callable[..., Order]) -> Callable[..., Order]:
        def call(*args: Any, **kwargs: Any) -> Order:
            faults.step = step
            try:
                return method(*args, **kwargs)
            finally:
                faults.step = None

        return call

    for step in (*TRANSACTIONS, *REFUNDS, *SINGLE_WRITES):
        monkeypatch.setattr(world.orders, step, track_step(step, getattr(world.orders, step)))
    for operation in ("TransactWriteItems", "UpdateItem"):
        world.service.meta.events.register(f"before-call.dynamodb.{operation}", faults.before_call)
        world.service.meta.events.register(f"after-call.dynamodb.{operation}", faults.after_call)
    return faults


def place_order_for(world: World, step: str) -> Order:
    """Return an order for which `run_step` reaches `step`."""
    order = world.place({"cup": 2, "tea": 9} if step == "cancel_unclaimed" else BASKET)
    if step in REFUNDS:
        charge_without_service(world, order)
        world.override(order, CANCELLED)
    return order


def charge_without_service(world: World, order: Order) -> None:
    """Charge the order's intent at Stripe without the service."""
    deadline = Deadline.after(28)
    intent_id = world.stripe.create_intent(order, deadline=deadline)
    attempt = PaymentAttempt("att_unknown", intent_id, "pm_card_visa", utc_now())
    world.stripe.confirm(replace(order, attempt=attempt), deadline=deadline)


def run_step(world: World, step: str, order: Order) -> Any:
    """Do what calls `step` for the order, and return the service's answer."""
    match step:
        case "settle_by_hand":
            return world.override(order, CONFIRMED)
        case "settle_cancelled":
            return world.pay(order, "pm_card_chargeDeclined")
        case "void":
            return world.pay(order, "pm_unknown")
        case "owe_refund" | "record_refund":
            deadline = Deadline.after(28)
            intent_id = world.stripe.create_intent(order, deadline=deadline)
            return payments.follow_intent(
                order.order_id, intent_id, orders=world.orders, stripe=world.stripe, deadline=deadline
            )
        case _:
            return world.pay(order)


COMPLETED: dict[str, tuple[type[Any], OrderStatus]] = {
    "claim": (Order, CONFIRMED),
    "settle_confirmed": (Order, CONFIRMED),
    "settle_cancelled": (PaymentFailed, CANCELLED),
    "void": (InvalidPaymentMethod, PENDING),
    "settle_by_hand": (Order, CONFIRMED),
    "cancel_unclaimed": (InsufficientStock, CANCELLED),
    "owe_refund": (Order, CANCELLED),
    "record_refund": (Order, CANCELLED),
}
"""By step: the answer without a fault, and the order's status."""

GIVEN_UP: dict[str, tuple[type[Any], OrderStatus, OrderStatus]] = {
    "claim": (Busy, PENDING, PENDING),
    "settle_confirmed": (Order, PENDING, CONFIRMED),
    "settle_cancelled": (Order, PENDING, CANCELLED),
    "void": (Order, PENDING, CANCELLED),
    "settle_by_hand": (Busy, PENDING, PENDING),
}
"""By step: the answer if the transaction fails, the order's status, and its status after reconciling."""


def check_completed(world: World, step: str, order: Order, answer: Any) -> None:
    kind, status = COMPLETED[step]
    recorded = world.read_order(order)
    assert isinstance(answer, kind)
    assert recorded.status is status
    assert not isinstance(answer, Order) or answer == recorded
    world.check_settled()


def check_given_up(world: World, step: str, order: Order, answer: Any) -> None:
    kind, first_status, _ = GIVEN_UP[step]
    recorded = world.read_order(order)
    assert isinstance(answer, kind)
    assert recorded.status is first_status
    assert recorded == (order if kind is Busy else answer)
    world.check_invariants()


def check_reconciled(world: World, step: str, order: Order) -> None:
    world.reconcile()
    assert world.read_order(order).status is GIVEN_UP[step][2]
    world.check_settled()


# Conflicts and throttling


@pytest.mark.parametrize("step", TRANSACTIONS)
def test_transaction_is_retried_after_any_conflict_at_any_position(
    world: World, faults: FaultQueue, clock: Clock, step: str
) -> None:
    clock.draw = lambda _: 0.0
    order = place_order_for(world, step)
    conflicts = [conflict_at(position, reason) for position in POSITIONS for reason in RETRYABLE_REASONS]
    faults.inject(step, *conflicts)

    answer = run_step(world, step, order)

    assert faults.tries[step] == len(conflicts) + 1
    check_completed(world, step, order, answer)


@pytest.mark.parametrize("step", TRANSACTIONS)
def test_transaction_in_permanent_conflict_is_given_up(world: World, faults: FaultQueue, step: str) -> None:
    order = place_order_for(world, step)
    faults.inject_always(step, transaction_cancelled("TransactionConflict", "ThrottlingError", None))

    answer = run_step(world, step, order)

    check_given_up(world, step, order, answer)
    faults.clear()
    check_reconciled(world, step, order)


def test_order_can_be_paid_after_its_claim_was_given_up(world: World, faults: FaultQueue) -> None:
    order = world.place(BASKET)
    faults.inject_always("claim", conflict_at(0))
    assert isinstance(world.pay(order), Busy)
    faults.clear()

    check_completed(world, "claim", order, world.pay(order))


@pytest.mark.parametrize("step", REFUNDS)
def test_refund_write_is_retried_after_any_conflict(world: World, faults: FaultQueue, step: str) -> None:
    order = place_order_for(world, step)
    faults.inject(step, *map(transaction_cancelled, RETRYABLE_REASONS))

    answer = run_step(world, step, order)

    assert faults.tries[step] == len(RETRYABLE_REASONS) + 1
    check_completed(world, step, order, answer)


@pytest.mark.parametrize("step", SINGLE_WRITES)
def test_single_item_write_is_retried_during_a_transaction_conflict(
    world: World, faults: FaultQueue, clock: Clock, step: str
) -> None:
    order = place_order_for(world, step)
    faults.inject(step, *[error_response("TransactionConflictException")] * 3)

    answer = run_step(world, step, order)

    assert (faults.tries[step], len(clock.pauses)) == (4, 3)
    check_completed(world, step, order, answer)


# Pauses and retry budgets


@pytest.mark.parametrize(
    ("step", "budget"),
    [
        ("claim", CLAIM_BUDGET_SECONDS),
        ("settle_by_hand", CLAIM_BUDGET_SECONDS),
        ("settle_confirmed", SETTLE_BUDGET_SECONDS),
        ("settle_cancelled", SETTLE_BUDGET_SECONDS),
        ("void", SETTLE_BUDGET_SECONDS),
    ],
)
def test_backoff_limit_doubles_and_pauses_stay_within_the_budget(
    world: World, faults: FaultQueue, clock: Clock, step: str, budget: float
) -> None:
    order = place_order_for(world, step)
    faults.inject_always(step, conflict_at(1))

    run_step(world, step, order)

    longest = [min(BACKOFF_FIRST_SECONDS * 2**number, BACKOFF_LONGEST_SECONDS) for number in range(len(clock.limits))]
    assert clock.limits == [(0, limit) for limit in longest]
    # The last pause drawn exceeded the budget.
    assert clock.pauses == longest[:-1]
    assert sum(longest[:-1]) <= budget < sum(longest)
    assert faults.tries[step] == len(longest)


def test_pause_is_the_random_draw_and_not_its_limit(world: World, faults: FaultQueue, clock: Clock) -> None:
    drawn = iter([0.02, 0.0, 0.07])
    clock.draw = lambda _: next(drawn)
    faults.inject("claim", *[conflict_at(0)] * 3)

    world.pay(world.place(BASKET))

    assert clock.pauses == [0.02, 0.0, 0.07]


def test_shorter_pauses_allow_more_tries_within_the_budget(world: World, faults: FaultQueue, clock: Clock) -> None:
    clock.draw = lambda limit: limit * 0.3
    faults.inject_always("claim", conflict_at(0))

    world.pay(world.place(BASKET))

    assert sum(clock.pauses) <= CLAIM_BUDGET_SECONDS < sum(clock.pauses) + BACKOFF_LONGEST_SECONDS * 0.3
    assert faults.tries["claim"] == len(clock.pauses) + 1 == 68


def test_retries_stop_at_the_request_deadline(world: World, faults: FaultQueue, clock: Clock) -> None:
    order = world.place(BASKET)
    attempt = PaymentAttempt(PaymentAttempt.new_id(), "pi_1", "pm_card_visa", utc_now())
    faults.inject_always("claim", conflict_at(0))

    with pytest.raises(Busy):
        world.orders.claim(order, attempt, deadline=Deadline.after(0.2))

    assert clock.pauses == [0.05, 0.1]


def test_write_is_tried_once_when_no_time_is_left(world: World, faults: FaultQueue, clock: Clock) -> None:
    order = world.place(BASKET)
    attempt = PaymentAttempt(PaymentAttempt.new_id(), "pi_1", "pm_card_visa", utc_now())
    faults.inject("claim", conflict_at(0))

    with pytest.raises(Busy):
        world.orders.claim(order, attempt, deadline=Deadline.after(-1))

    assert (faults.tries["claim"], clock.pauses) == (1, [])


@pytest.mark.parametrize("step", ["claim", "settle_confirmed"])
def test_slow_responses_use_up_the_retry_budget(world: World, faults: FaultQueue, clock: Clock, step: str) -> None:
    clock.draw = lambda _: 0.0
    order = place_order_for(world, step)
    faults.inject_always(step, slow_response(clock, 1.2, conflict_at(0)))

    answer = run_step(world, step, order)

    assert faults.tries[step] == (3 if GIVEN_UP[step][0] is Busy else 4)
    check_given_up(world, step, order, answer)
    faults.clear()
    check_reconciled(world, step, order)


def test_claim_is_voided_when_no_time_is_left_to_call_stripe(world: World, faults: FaultQueue, clock: Clock) -> None:
    order = world.place(BASKET)
    faults.inject("claim", slow_response(clock, 24))

    assert isinstance(world.pay(order), Busy)
    world.check_settled()
    check_completed(world, "claim", order, world.pay(order))


def test_nothing_is_claimed_when_creating_the_intent_took_too_long(
    world: World, faults: FaultQueue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = world.place(BASKET)
    create = world.stripe.create_intent

    def create_slowly(order: Order, *, deadline: Deadline) -> str:
        clock.now += deadline.remaining() + 0.1
        return create(order, deadline=Deadline.after(28))

    with monkeypatch.context() as patch:
        patch.setattr(world.stripe, "create_intent", create_slowly)
        assert isinstance(world.pay(order), Busy)

    assert faults.tries["claim"] == 0
    assert world.read_order(order) == order
    check_completed(world, "claim", order, world.pay(order))


def test_slow_settlement_succeeds(world: World, faults: FaultQueue, clock: Clock) -> None:
    order = world.place(BASKET)
    faults.inject("settle_confirmed", slow_response(clock, 30))

    check_completed(world, "settle_confirmed", order, world.pay(order))


# A failed condition is final, despite conflicts


def test_claim_short_of_stock_is_not_retried_for_a_conflict(world: World, faults: FaultQueue) -> None:
    order = world.place({"cup": 2, "tea": 9})
    faults.inject("claim", Fault(after=add_conflicts))

    answer = world.pay(order)

    assert isinstance(answer, InsufficientStock)
    assert [(shortage.product_id, shortage.available) for shortage in answer.shortages] == [("tea", 5)]
    assert faults.tries["claim"] == 1
    world.check_settled()


OVERTAKING: dict[str, tuple[str, Callable[[World, Order], Any], type[Any]]] = {
    "claim, another payment": ("claim", World.pay, Exception),
    "settlement, reconciler": ("settle_confirmed", lambda world, _: world.reconcile(), Order),
    "cancellation, reconciler": ("settle_cancelled", lambda world, _: world.reconcile(), PaymentFailed),
    "void, reconciler": ("void", lambda world, _: world.reconcile(), PaymentFailed),
    "override, payment": ("settle_by_hand", World.pay, OrderNotPending),
}


@pytest.mark.parametrize("case", OVERTAKING)
def test_lost_race_is_reported_without_retry_despite_conflicts(world: World, faults: FaultQueue, case: str) -> None:
    step, overtake, expected = OVERTAKING[case]
    order = place_order_for(world, step)
    rival = World(world.fault_free, world.fault_free)

    def lose() -> None:
        overtake(rival, order)

    faults.inject(step, Fault(lose, add_conflicts))

    answer = run_step(world, step, order)

    assert faults.tries[step] == 1
    assert isinstance(answer, expected)
    world.check_settled()


REJECTIONS = [
    pytest.param((None, "ValidationError", None), id="alone"),
    pytest.param((None, "ValidationError", "TransactionConflict"), id="with a conflict"),
]


@pytest.mark.parametrize("reasons", REJECTIONS)
def test_rejected_claim_is_not_retried(world: World, faults: FaultQueue, reasons: tuple[str | None, ...]) -> None:
    order = world.place(BASKET)
    faults.inject("claim", transaction_cancelled(*reasons))

    with pytest.raises(WriteRejected):
        world.pay(order)

    assert faults.tries["claim"] == 1
    world.check_settled()
    check_completed(world, "claim", order, world.pay(order))


@pytest.mark.parametrize("reasons", REJECTIONS)
def test_rejected_settlement_is_left_to_the_reconciler(
    world: World, faults: FaultQueue, reasons: tuple[str | None, ...]
) -> None:
    order = world.place(BASKET)
    faults.inject("settle_confirmed", transaction_cancelled(*reasons))

    answer = world.pay(order)

    assert faults.tries["settle_confirmed"] == 1
    check_given_up(world, "settle_confirmed", order, answer)
    check_reconciled(world, "settle_confirmed", order)


# Errors of the whole request. botocore has retried it by then, so it may have taken effect.


@pytest.mark.parametrize("code", ERROR_CODES)
@pytest.mark.parametrize("step", ["claim", "settle_confirmed"])
def test_failed_request_is_not_retried_by_the_service(world: World, faults: FaultQueue, step: str, code: str) -> None:
    order = place_order_for(world, step)
    faults.inject(step, error_response(code))

    answer = run_step(world, step, order)

    assert faults.tries[step] == 1
    check_given_up(world, step, order, answer)
    check_reconciled(world, step, order)


@pytest.mark.parametrize(
    ("step", "fault"),
    [*((step, UNREACHABLE_REQUEST) for step in TRANSACTIONS), ("settle_confirmed", THROTTLED), ("void", THROTTLED)],
)
def test_failed_transaction_leaves_order_to_the_reconciler(
    world: World, faults: FaultQueue, step: str, fault: Fault
) -> None:
    order = place_order_for(world, step)
    faults.inject(step, fault)

    answer = run_step(world, step, order)

    check_given_up(world, step, order, answer)
    check_reconciled(world, step, order)


@pytest.mark.parametrize(
    ("step", "error"),
    [
        *((step, TIMED_OUT) for step in (*TRANSACTIONS, *REFUNDS, *SINGLE_WRITES)),
        *((step, error) for step in ("claim", "settle_confirmed") for error in (CLOSED, FAILED_AFTER_EFFECT)),
    ],
)
def test_lost_reply_is_resolved_by_reading_the_order(
    world: World, faults: FaultQueue, step: str, error: Exception
) -> None:
    order = place_order_for(world, step)
    faults.inject(step, lost_reply(error))

    answer = run_step(world, step, order)

    assert faults.tries[step] == 1
    check_completed(world, step, order, answer)


def test_claim_with_unknown_result_is_cancelled_by_the_reconciler(
    world: World, faults: FaultQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = world.place(BASKET)
    faults.inject("claim", lost_reply(TIMED_OUT))
    with monkeypatch.context() as patch:
        read = world.orders.get

        def get(order_id: str) -> Order:
            if faults.step == "claim":
                raise Busy("The database does not respond.")
            return read(order_id)

        patch.setattr(world.orders, "get", get)
        assert isinstance(world.pay(order), Busy)

    world.check_invariants()
    assert isinstance(world.pay(order), PaymentInProgress)
    world.reconcile()
    assert world.read_order(order).status is CANCELLED
    world.check_settled()


@pytest.mark.parametrize(
    "fault", [error_response("ThrottlingException"), lost_request(UNREACHABLE)], ids=["throttled", "lost"]
)
def test_order_can_be_paid_if_its_cancellation_for_stock_failed(world: World, faults: FaultQueue, fault: Fault) -> None:
    order = place_order_for(world, "cancel_unclaimed")
    faults.inject("cancel_unclaimed", fault)

    answer = run_step(world, "cancel_unclaimed", order)

    assert isinstance(answer, Busy)
    assert world.read_order(order) == order
    world.check_settled()
    check_completed(world, "cancel_unclaimed", order, world.pay(order))


@pytest.mark.parametrize(
    "fault", [error_response("ThrottlingException"), lost_request(UNREACHABLE)], ids=["throttled", "lost"]
)
@pytest.mark.parametrize("step", REFUNDS)
def test_late_charge_is_refunded_once_if_recording_fails_first(
    world: World, faults: FaultQueue, step: str, fault: Fault
) -> None:
    order = place_order_for(world, step)
    faults.inject(step, fault)
    with suppress(Busy):
        run_step(world, step, order)

    # Stripe retries the event, and the reconciler finds owed refunds.
    run_step(world, "owe_refund", order)
    world.reconcile()

    (charge,) = world.store.charges()
    assert len(charge.refunds) == 1
    world.check_settled()
