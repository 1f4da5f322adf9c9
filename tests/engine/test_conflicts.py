"""What gets in the way of a write: other transactions, throttling, lost messages; laid there, as no emulator does it.

Time is a clock of the test's own, on which only pauses and slow answers take time.
"""

from collections import Counter
from collections.abc import Callable
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
SINGLE_WRITES = ("cancel_unclaimed", "owe_refund", "record_refund")

IN_THE_WAY = ("TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded")
FAULTS = ("InternalServerError", "ServiceUnavailableException")
PLAIN_ERRORS = (
    "ThrottlingException",
    "RequestLimitExceeded",
    "TransactionInProgressException",
    *FAULTS,
    "ProvisionedThroughputExceededException",
)

BASKET = {"cup": 2, "tea": 1}
POSITIONS = range(1 + len(BASKET))

PENDING, CONFIRMED, CANCELLED = OrderStatus

Request = dict[str, Any]
Answer = tuple[Any, dict[str, Any]]


class Clock:
    """A clock that stands still until somebody sleeps on it. `draw` takes a pause from below its limit."""

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
class Obstacle:
    """What a request meets: an answer in place of DynamoDB's, or an error once DynamoDB has answered."""

    answer: Callable[[], Answer | None] = lambda: None
    afterwards: Callable[[dict[str, Any]], None] = lambda _: None


def refused(*reasons: str | None) -> Obstacle:
    """The transaction is cancelled, for a reason at each position."""
    listed = [{"Code": reason or "None", "Message": "laid in the way"} for reason in reasons]
    return Obstacle(lambda: _error("TransactionCanceledException", CancellationReasons=listed))


def conflict_at(position: int, reason: str = "TransactionConflict") -> Obstacle:
    return refused(*(reason if at == position else None for at in POSITIONS))


def plain(code: str) -> Obstacle:
    return Obstacle(lambda: _error(code))


def lost_request(error: Exception) -> Obstacle:
    """The request does not arrive."""

    def lose() -> None:
        raise error

    return Obstacle(lose)


def lost_reply(error: Exception) -> Obstacle:
    """The request takes its effect, and nobody hears of it."""

    def lose(_: dict[str, Any]) -> None:
        raise error

    return Obstacle(afterwards=lose)


def slow(clock: Clock, seconds: float, then: Obstacle | None = None) -> Obstacle:
    """The answer takes its time."""

    def wait() -> Answer | None:
        clock.now += seconds
        return then.answer() if then else None

    return Obstacle(wait)


def conflicting_besides(parsed: dict[str, Any]) -> None:
    """Make a conflict of every reason of a cancelled transaction that is none."""
    for reason in parsed["CancellationReasons"]:
        if reason["Code"] == "None":
            reason["Code"] = "TransactionConflict"


def _error(code: str, **more: Any) -> Answer:
    status = 500 if code in FAULTS else 400
    http = SimpleNamespace(status_code=status)
    return http, {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}, **more}


TIMED_OUT = ReadTimeoutError(endpoint_url="http://dynamodb")
CLOSED = ConnectionClosedError(endpoint_url="http://dynamodb")
UNREACHABLE = EndpointConnectionError(endpoint_url="http://dynamodb")
FAILED_AFTERWARDS = ClientError(
    {"Error": {"Code": "InternalServerError"}, "ResponseMetadata": {"HTTPStatusCode": 500}}, "TransactWriteItems"
)
THROTTLED = plain("ThrottlingException")
UNREACHED = lost_request(UNREACHABLE)


@dataclass
class Obstacles:
    """What lies in the way of the service's writes, by the method of the orders table that makes them.

    Each write meets the next obstacle of its method; once they are used up it passes, as do the reads.
    """

    step: str | None = None
    tries: Counter[str | None] = field(default_factory=Counter)
    _laid: dict[str, list[Obstacle]] = field(default_factory=dict)
    _always: dict[str, Obstacle] = field(default_factory=dict)

    def lay(self, step: str, *obstacles: Obstacle) -> None:
        self._laid[step] = list(obstacles)

    def lay_for_good(self, step: str, obstacle: Obstacle) -> None:
        self._always[step] = obstacle

    def clear(self) -> None:
        assert not any(self._laid.values())
        self._always.clear()

    def meet(self, context: dict[str, Any], **_: Any) -> Answer | None:
        self.tries[self.step] += 1
        laid = self._laid.get(self.step or "")
        obstacle = laid.pop(0) if laid else self._always.get(self.step or "")
        context["obstacle"] = obstacle
        return obstacle.answer() if obstacle else None

    def leave(self, parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        if context.get("obstacle"):
            context["obstacle"].afterwards(parsed)


@pytest.fixture
def world(world: World) -> World:
    for product_id in BASKET:
        world.add_product(product_id, 5)
    return world


@pytest.fixture
def obstacles(world: World, monkeypatch: pytest.MonkeyPatch) -> Obstacles:
    obstacles = Obstacles()

    def told_apart(step: str, method: Callable[..., Order]) -> Callable[..., Order]:
        def call(*args: Any, **kwargs: Any) -> Order:
            obstacles.step = step
            try:
                return method(*args, **kwargs)
            finally:
                obstacles.step = None

        return call

    for step in (*TRANSACTIONS, *SINGLE_WRITES):
        monkeypatch.setattr(world.orders, step, told_apart(step, getattr(world.orders, step)))
    for operation in ("TransactWriteItems", "UpdateItem"):
        world.service.meta.events.register(f"before-call.dynamodb.{operation}", obstacles.meet)
        world.service.meta.events.register(f"after-call.dynamodb.{operation}", obstacles.leave)
    return obstacles


def place_for(world: World, step: str) -> Order:
    """An order that `run_into` brings to `step`."""
    order = world.place({"cup": 2, "tea": 9} if step == "cancel_unclaimed" else BASKET)
    if step in {"owe_refund", "record_refund"}:
        pay_behind_our_back(world, order)
        world.override(order, CANCELLED)
    return order


def pay_behind_our_back(world: World, order: Order) -> None:
    """Pay the order's intent at Stripe, without the service."""
    deadline = Deadline.after(28)
    intent_id = world.stripe.create_intent(order, deadline=deadline)
    attempt = PaymentAttempt("att_unknown", intent_id, "pm_card_visa", utc_now())
    world.stripe.confirm(replace(order, attempt=attempt), deadline=deadline)


def run_into(world: World, step: str, order: Order) -> Any:
    """Do to the order what calls `step`; what the service answers."""
    match step:
        case "settle_by_hand":
            return world.override(order, CONFIRMED)
        case "settle_cancelled":
            return world.pay(order, "pm_card_chargeDeclined")
        case "void":
            return world.pay(order, "pm_of_nobody")
        case "owe_refund" | "record_refund":
            deadline = Deadline.after(28)
            intent_id = world.stripe.create_intent(order, deadline=deadline)
            return payments.follow_intent(
                order.order_id, intent_id, orders=world.orders, stripe=world.stripe, deadline=deadline
            )
        case _:
            return world.pay(order)


UNDISTURBED: dict[str, tuple[type[Any], OrderStatus]] = {
    "claim": (Order, CONFIRMED),
    "settle_confirmed": (Order, CONFIRMED),
    "settle_cancelled": (PaymentFailed, CANCELLED),
    "void": (InvalidPaymentMethod, PENDING),
    "settle_by_hand": (Order, CONFIRMED),
    "cancel_unclaimed": (InsufficientStock, CANCELLED),
    "owe_refund": (Order, CANCELLED),
    "record_refund": (Order, CANCELLED),
}
"""By step: the answer where nothing is in the way, and what the order is then."""

LEFT_OPEN: dict[str, tuple[type[Any], OrderStatus, OrderStatus]] = {
    "claim": (Busy, PENDING, PENDING),
    "settle_confirmed": (Order, PENDING, CONFIRMED),
    "settle_cancelled": (Order, PENDING, CANCELLED),
    "void": (Order, PENDING, CANCELLED),
    "settle_by_hand": (Busy, PENDING, PENDING),
}
"""By step: the answer where the transaction cannot be made, what the order is then, and after reconciling."""


def check_undisturbed(world: World, step: str, order: Order, answer: Any) -> None:
    kind, status = UNDISTURBED[step]
    recorded = world.read_order(order)
    assert isinstance(answer, kind)
    assert recorded.status is status
    assert not isinstance(answer, Order) or answer == recorded
    world.check_settled()


def check_left_open(world: World, step: str, order: Order, answer: Any) -> None:
    kind, at_once, _ = LEFT_OPEN[step]
    recorded = world.read_order(order)
    assert isinstance(answer, kind)
    assert recorded.status is at_once
    assert recorded == (order if kind is Busy else answer)
    world.check_invariants()


def check_reconciled(world: World, step: str, order: Order) -> None:
    world.reconcile()
    assert world.read_order(order).status is LEFT_OPEN[step][2]
    world.check_settled()


# What another transaction, or throttling, gets in the way of


@pytest.mark.parametrize("step", TRANSACTIONS)
def test_a_transaction_is_tried_again_whatever_was_in_its_way_at_whatever_position(
    world: World, obstacles: Obstacles, clock: Clock, step: str
) -> None:
    clock.draw = lambda _: 0.0
    order = place_for(world, step)
    in_the_way = [conflict_at(position, reason) for position in POSITIONS for reason in IN_THE_WAY]
    obstacles.lay(step, *in_the_way)

    answer = run_into(world, step, order)

    assert obstacles.tries[step] == len(in_the_way) + 1
    check_undisturbed(world, step, order, answer)


@pytest.mark.parametrize("step", TRANSACTIONS)
def test_a_transaction_that_is_always_in_conflict_is_given_up(world: World, obstacles: Obstacles, step: str) -> None:
    order = place_for(world, step)
    obstacles.lay_for_good(step, refused("TransactionConflict", "ThrottlingError", None))

    answer = run_into(world, step, order)

    check_left_open(world, step, order, answer)
    obstacles.clear()
    check_reconciled(world, step, order)


def test_an_order_whose_claim_was_given_up_can_be_paid(world: World, obstacles: Obstacles) -> None:
    order = world.place(BASKET)
    obstacles.lay_for_good("claim", conflict_at(0))
    assert isinstance(world.pay(order), Busy)
    obstacles.clear()

    check_undisturbed(world, "claim", order, world.pay(order))


@pytest.mark.parametrize("step", SINGLE_WRITES)
def test_a_write_of_one_item_is_tried_again_while_a_transaction_is_in_its_way(
    world: World, obstacles: Obstacles, clock: Clock, step: str
) -> None:
    order = place_for(world, step)
    obstacles.lay(step, *[plain("TransactionConflictException")] * 3)

    answer = run_into(world, step, order)

    assert (obstacles.tries[step], len(clock.pauses)) == (4, 3)
    check_undisturbed(world, step, order, answer)


# How long, and how often


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
def test_pauses_are_drawn_from_below_a_limit_that_doubles_and_end_within_the_budget(
    world: World, obstacles: Obstacles, clock: Clock, step: str, budget: float
) -> None:
    order = place_for(world, step)
    obstacles.lay_for_good(step, conflict_at(1))

    run_into(world, step, order)

    longest = [min(BACKOFF_FIRST_SECONDS * 2**number, BACKOFF_LONGEST_SECONDS) for number in range(len(clock.limits))]
    assert clock.limits == [(0, limit) for limit in longest]
    # The last one drawn did not fit any more.
    assert clock.pauses == longest[:-1]
    assert sum(longest[:-1]) <= budget < sum(longest)
    assert obstacles.tries[step] == len(longest)


def test_a_pause_is_what_was_drawn_and_not_its_limit(world: World, obstacles: Obstacles, clock: Clock) -> None:
    drawn = iter([0.02, 0.0, 0.07])
    clock.draw = lambda _: next(drawn)
    obstacles.lay("claim", *[conflict_at(0)] * 3)

    world.pay(world.place(BASKET))

    assert clock.pauses == [0.02, 0.0, 0.07]


def test_short_draws_are_as_many_tries_as_fit(world: World, obstacles: Obstacles, clock: Clock) -> None:
    clock.draw = lambda limit: limit * 0.3
    obstacles.lay_for_good("claim", conflict_at(0))

    world.pay(world.place(BASKET))

    assert sum(clock.pauses) <= CLAIM_BUDGET_SECONDS < sum(clock.pauses) + BACKOFF_LONGEST_SECONDS * 0.3
    assert obstacles.tries["claim"] == len(clock.pauses) + 1 == 68


def test_tries_end_with_the_request_where_that_has_less_time_than_the_budget(
    world: World, obstacles: Obstacles, clock: Clock
) -> None:
    order = world.place(BASKET)
    attempt = PaymentAttempt(PaymentAttempt.new_id(), "pi_1", "pm_card_visa", utc_now())
    obstacles.lay_for_good("claim", conflict_at(0))

    with pytest.raises(Busy):
        world.orders.claim(order, attempt, deadline=Deadline.after(0.2))

    assert clock.pauses == [0.05, 0.1]


def test_a_write_is_tried_once_where_no_time_is_left(world: World, obstacles: Obstacles, clock: Clock) -> None:
    order = world.place(BASKET)
    attempt = PaymentAttempt(PaymentAttempt.new_id(), "pi_1", "pm_card_visa", utc_now())
    obstacles.lay("claim", conflict_at(0))

    with pytest.raises(Busy):
        world.orders.claim(order, attempt, deadline=Deadline.after(-1))

    assert (obstacles.tries["claim"], clock.pauses) == (1, [])


@pytest.mark.parametrize("step", ["claim", "settle_confirmed"])
def test_slow_answers_use_the_budget_up(world: World, obstacles: Obstacles, clock: Clock, step: str) -> None:
    clock.draw = lambda _: 0.0
    order = place_for(world, step)
    obstacles.lay_for_good(step, slow(clock, 1.2, conflict_at(0)))

    answer = run_into(world, step, order)

    assert obstacles.tries[step] == (3 if LEFT_OPEN[step][0] is Busy else 4)
    check_left_open(world, step, order, answer)
    obstacles.clear()
    check_reconciled(world, step, order)


def test_a_claim_so_slow_that_no_time_is_left_to_ask_stripe_is_taken_back(
    world: World, obstacles: Obstacles, clock: Clock
) -> None:
    order = world.place(BASKET)
    obstacles.lay("claim", slow(clock, 24))

    assert isinstance(world.pay(order), Busy)
    world.check_settled()
    check_undisturbed(world, "claim", order, world.pay(order))


def test_where_creating_the_intent_took_the_time_nothing_is_claimed(
    world: World, obstacles: Obstacles, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = world.place(BASKET)
    create = world.stripe.create_intent

    def slowly(order: Order, *, deadline: Deadline) -> str:
        clock.now += deadline.remaining() + 0.1
        return create(order, deadline=Deadline.after(28))

    with monkeypatch.context() as patch:
        patch.setattr(world.stripe, "create_intent", slowly)
        assert isinstance(world.pay(order), Busy)

    assert obstacles.tries["claim"] == 0
    assert world.read_order(order) == order
    check_undisturbed(world, "claim", order, world.pay(order))


def test_a_settlement_that_takes_long_is_made(world: World, obstacles: Obstacles, clock: Clock) -> None:
    order = world.place(BASKET)
    obstacles.lay("settle_confirmed", slow(clock, 30))

    check_undisturbed(world, "settle_confirmed", order, world.pay(order))


# A condition that does not hold is an answer, whatever else is in the way


def test_a_claim_that_is_short_of_stock_is_not_tried_again_for_a_conflict(world: World, obstacles: Obstacles) -> None:
    order = world.place({"cup": 2, "tea": 9})
    obstacles.lay("claim", Obstacle(afterwards=conflicting_besides))

    answer = world.pay(order)

    assert isinstance(answer, InsufficientStock)
    assert [(shortage.product_id, shortage.available) for shortage in answer.shortages] == [("tea", 5)]
    assert obstacles.tries["claim"] == 1
    world.check_settled()


RIVALS: dict[str, tuple[str, Callable[[World, Order], Any], type[Any]]] = {
    "a claim, another's payment": ("claim", World.pay, Exception),
    "a settlement, the reconciler's": ("settle_confirmed", lambda world, _: world.reconcile(), Order),
    "a cancellation, the reconciler's": ("settle_cancelled", lambda world, _: world.reconcile(), PaymentFailed),
    "taking back, the reconciler's": ("void", lambda world, _: world.reconcile(), PaymentFailed),
    "an override, a payment": ("settle_by_hand", World.pay, OrderNotPending),
}


@pytest.mark.parametrize("rivalry", RIVALS)
def test_who_was_beaten_to_it_is_told_so_at_once_even_amid_conflicts(
    world: World, obstacles: Obstacles, rivalry: str
) -> None:
    step, be_first, told = RIVALS[rivalry]
    order = place_for(world, step)
    rival = World(world.fault_free, world.fault_free)

    def lose() -> None:
        be_first(rival, order)

    obstacles.lay(step, Obstacle(lose, conflicting_besides))

    answer = run_into(world, step, order)

    assert obstacles.tries[step] == 1
    assert isinstance(answer, told)
    world.check_settled()


WRONG = [
    pytest.param((None, "ValidationError", None), id="alone"),
    pytest.param((None, "ValidationError", "TransactionConflict"), id="amid a conflict"),
]


@pytest.mark.parametrize("reasons", WRONG)
def test_a_claim_that_dynamodb_rejects_is_neither_made_nor_tried_again(
    world: World, obstacles: Obstacles, reasons: tuple[str | None, ...]
) -> None:
    order = world.place(BASKET)
    obstacles.lay("claim", refused(*reasons))

    with pytest.raises(WriteRejected):
        world.pay(order)

    assert obstacles.tries["claim"] == 1
    world.check_settled()
    check_undisturbed(world, "claim", order, world.pay(order))


@pytest.mark.parametrize("reasons", WRONG)
def test_a_settlement_that_dynamodb_rejects_is_left_to_the_reconciler(
    world: World, obstacles: Obstacles, reasons: tuple[str | None, ...]
) -> None:
    order = world.place(BASKET)
    obstacles.lay("settle_confirmed", refused(*reasons))

    answer = world.pay(order)

    assert obstacles.tries["settle_confirmed"] == 1
    check_left_open(world, "settle_confirmed", order, answer)
    check_reconciled(world, "settle_confirmed", order)


# Errors of the whole request: botocore has repeated it by then, so it may have been made


@pytest.mark.parametrize("code", PLAIN_ERRORS)
@pytest.mark.parametrize("step", ["claim", "settle_confirmed"])
def test_what_dynamodb_does_not_take_is_left_as_it_is(world: World, obstacles: Obstacles, step: str, code: str) -> None:
    order = place_for(world, step)
    obstacles.lay(step, plain(code))

    answer = run_into(world, step, order)

    assert obstacles.tries[step] == 1
    check_left_open(world, step, order, answer)
    check_reconciled(world, step, order)


@pytest.mark.parametrize(
    ("step", "obstacle"),
    [*((step, UNREACHED) for step in TRANSACTIONS), ("settle_confirmed", THROTTLED), ("void", THROTTLED)],
)
def test_a_transaction_that_did_not_get_through_leaves_the_order_to_the_reconciler(
    world: World, obstacles: Obstacles, step: str, obstacle: Obstacle
) -> None:
    order = place_for(world, step)
    obstacles.lay(step, obstacle)

    answer = run_into(world, step, order)

    check_left_open(world, step, order, answer)
    check_reconciled(world, step, order)


@pytest.mark.parametrize(
    ("step", "error"),
    [
        *((step, TIMED_OUT) for step in (*TRANSACTIONS, *SINGLE_WRITES)),
        *((step, error) for step in ("claim", "settle_confirmed") for error in (CLOSED, FAILED_AFTERWARDS)),
    ],
)
def test_a_write_whose_reply_was_lost_is_found_to_be_made(
    world: World, obstacles: Obstacles, step: str, error: Exception
) -> None:
    order = place_for(world, step)
    obstacles.lay(step, lost_reply(error))

    answer = run_into(world, step, order)

    assert obstacles.tries[step] == 1
    check_undisturbed(world, step, order, answer)


def test_a_claim_that_nobody_can_say_was_made_is_brought_to_its_end(
    world: World, obstacles: Obstacles, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = world.place(BASKET)
    obstacles.lay("claim", lost_reply(TIMED_OUT))
    with monkeypatch.context() as patch:
        read = world.orders.get

        def get(order_id: str) -> Order:
            if obstacles.step == "claim":
                raise Busy("The database does not answer.")
            return read(order_id)

        patch.setattr(world.orders, "get", get)
        assert isinstance(world.pay(order), Busy)

    world.check_invariants()
    assert isinstance(world.pay(order), PaymentInProgress)
    world.reconcile()
    assert world.read_order(order).status is CANCELLED
    world.check_settled()


@pytest.mark.parametrize(
    "obstacle", [plain("ThrottlingException"), lost_request(UNREACHABLE)], ids=["throttled", "lost"]
)
def test_an_order_that_could_not_be_cancelled_for_want_of_stock_can_be_paid_later(
    world: World, obstacles: Obstacles, obstacle: Obstacle
) -> None:
    order = place_for(world, "cancel_unclaimed")
    obstacles.lay("cancel_unclaimed", obstacle)

    answer = run_into(world, "cancel_unclaimed", order)

    assert isinstance(answer, Busy)
    assert world.read_order(order) == order
    world.check_settled()
    check_undisturbed(world, "cancel_unclaimed", order, world.pay(order))


@pytest.mark.parametrize(
    "obstacle", [plain("ThrottlingException"), lost_request(UNREACHABLE)], ids=["throttled", "lost"]
)
@pytest.mark.parametrize("step", ["owe_refund", "record_refund"])
def test_late_money_goes_back_once_although_it_could_not_be_recorded_at_once(
    world: World, obstacles: Obstacles, step: str, obstacle: Obstacle
) -> None:
    order = place_for(world, step)
    obstacles.lay(step, obstacle)
    run_into(world, step, order)

    # News from Stripe comes until it is taken; what is owed, the reconciler finds.
    run_into(world, "owe_refund", order)
    world.reconcile()

    (charge,) = world.store.charges()
    assert len(charge.refunds) == 1
    world.check_settled()
