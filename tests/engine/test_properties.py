"""Any story at all: whatever buyers, admins, Stripe and the reconciler do, and wherever one of them dies or is late.

Hypothesis tells the stories. A small model says what every step must come to; of a payment in flight it knows no more
than Stripe's books say. `HYPOTHESIS_PROFILE=fuzz` tells many more stories, and cuts one that fails down to its point.
"""

import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dummy_stripe.objects import Intent, Status
from dummy_stripe.payment_intents import finish_processing
from harness.dynamodb_local import client_of
from order_payments import payments
from order_payments.domain.errors import (
    Busy,
    InsufficientStock,
    InvalidPaymentMethod,
    OrderNotPending,
    OrderPaymentError,
    PaymentAlreadyAttempted,
    PaymentFailed,
    PaymentInProgress,
    StockBelowReserved,
    TooManyAttempts,
)
from order_payments.domain.orders import MAXIMUM_REFUSED_ATTEMPTS, Order, OrderStatus
from order_payments.runtime.clock import Deadline, utc_now
from order_payments.storage.products_table import ProductsTable
from tests.support.fault_injection import (
    Effect,
    Injection,
    Killed,
    Plan,
    delay_at,
    inject_faults,
    kill_at_index,
    no_faults,
    reset_world,
)
from tests.support.world import World

# The same stories every time, and told as they failed: to cut one down takes minutes on a real engine.
FIXED = settings(
    max_examples=15,
    phases=[Phase.generate],
    stateful_step_count=24,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
PROFILES = {
    "fixed": FIXED,
    "fuzz": settings(
        FIXED,
        max_examples=1000,
        stateful_step_count=40,
        derandomize=False,
        phases=[Phase.generate, Phase.shrink],
        print_blob=True,
    ),
}

PRODUCTS = ("tea", "mug")
KEYS = (None, "key-1", "key-2")
MOST_ORDERS = 3
"""Few, so that much happens to each."""
MOST_REQUESTS = 7
"""About as many as a step makes; where it makes fewer, it is left alive."""


class State(StrEnum):
    """How an order stands: its status, and whether a payment of it is in flight."""

    PAYABLE = "payable"
    IN_FLIGHT = "in flight"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


# What a payment comes to if nobody dies and there is enough of everything.
CARDS = {
    "pm_card_visa": State.CONFIRMED,
    "pm_dummy_slow": State.CONFIRMED,
    "pm_card_chargeDeclined": State.CANCELLED,
    "pm_card_authenticationRequired": State.CANCELLED,
    "pm_unknown": State.PAYABLE,
    "pm_dummy_timeout_after_charge": State.IN_FLIGHT,
    "pm_dummy_timeout_before_charge": State.IN_FLIGHT,
    "pm_dummy_api_error": State.IN_FLIGHT,
    "pm_dummy_rate_limited": State.PAYABLE,
    "pm_dummy_processing": State.IN_FLIGHT,
}


MAY_FOLLOW = {
    State.PAYABLE: set(State),
    State.IN_FLIGHT: set(State),
    State.CONFIRMED: {State.CONFIRMED},
    State.CANCELLED: {State.CANCELLED},
}


@dataclass
class Known:
    """What the model knows of an order; of its attempt, the client's key with the card, and when it began."""

    order: Order
    state: State = State.PAYABLE
    request: tuple[str | None, str] | None = None
    started_at: datetime | None = None
    short: bool = False
    too_many: bool = False


# Most of all where a payment claims, confirms and settles.
requests = st.sampled_from([2, 3, 4, 2, 3, 4, *range(MOST_REQUESTS + 1)])
cards = st.sampled_from(["pm_card_visa"] * 5 + list(CARDS))
mishaps = st.one_of(
    st.just(no_faults),
    st.builds(kill_at_index, requests, st.sampled_from([Effect.NONE, Effect.DONE])),
    st.builds(delay_at, requests),
)


class AnyStory(RuleBasedStateMachine):
    """The steps of a story, each with what it must come to."""

    tables: World
    orders = Bundle("orders")

    def __init__(self) -> None:
        super().__init__()
        self.world = reset_world(self.tables)
        self.known: dict[str, Known] = {}
        self.passed = timedelta()
        self.under_way: list[Injection] = []
        self.world.wire.clock = lambda: time.time() + self.passed.total_seconds()
        self.world.wire.sleep = lambda _: None
        self._clock = patch.object(payments, "utc_now", self.now)
        self._clock.start()

    def now(self) -> datetime:
        return utc_now() + self.passed

    @initialize(tea=st.integers(0, 6), mug=st.integers(0, 6))
    def open_shop(self, tea: int, mug: int) -> None:
        self.world.add_product("tea", tea)
        self.world.add_product("mug", mug)

    @precondition(lambda story: len(story.known) < MOST_ORDERS)
    @rule(target=orders, basket=st.dictionaries(st.sampled_from(PRODUCTS), st.integers(1, 3), min_size=1))
    def place(self, basket: dict[str, int]) -> str:
        order = self.world.place(basket)
        self.known[order.order_id] = Known(order)
        return order.order_id

    @rule(order_id=orders, card=cards, key=st.sampled_from(KEYS), mishap=mishaps)
    def pay(self, order_id: str, card: str, key: str | None, mishap: Plan) -> None:
        known = self.known[order_id]
        if known.state is not State.PAYABLE:
            refused = self.refusal(known, (key, card))
            answer = self.live(mishap, lambda: self.world.pay(known.order, card, key=key))
            assert answer is None or self.kind(answer) == refused
            return
        known.too_many = self.world.read_order(known.order).refused_attempts >= MAXIMUM_REFUSED_ATTEMPTS
        known.short = self.is_short(known) and not known.too_many
        known.request, known.started_at = (key, card), self.now()
        is_held = self.is_held(known) and not known.too_many
        possible = State.PAYABLE if is_held else CARDS[card]
        end = State.CANCELLED if known.short or known.too_many else possible
        answer = self.live(mishap, lambda: self.world.pay(known.order, card, key=key))
        if answer is None:
            is_claimed = not (known.short or known.too_many or is_held)
            self.learn(known, {State.PAYABLE, end} | ({State.IN_FLIGHT} if is_claimed else set()))
        else:
            known.state = end
            refused = self.refused_answer(card, is_held=is_held) if end is State.PAYABLE else None
            assert self.kind(answer) == (refused or self.recorded_answer(known))

    @rule(order_id=orders, status=st.sampled_from([OrderStatus.CONFIRMED, OrderStatus.CANCELLED]), mishap=mishaps)
    def override(self, order_id: str, status: OrderStatus, mishap: Plan) -> None:
        known = self.known[order_id]
        answer = self.live(mishap, lambda: self.world.override(known.order, status))
        if known.state is State.IN_FLIGHT:
            assert self.kind(answer) in {PaymentInProgress, None}
        elif known.state is not State.PAYABLE:
            assert self.kind(answer) in {OrderNotPending, None}
        elif status is OrderStatus.CONFIRMED and self.is_short(known):
            assert self.kind(answer) in {InsufficientStock, None}
        elif status is OrderStatus.CONFIRMED and self.is_held(known):
            assert self.kind(answer) in {Busy, None}
        elif answer is None:
            self.learn(known, {State.PAYABLE, State(status)})
        else:
            assert self.kind(answer) == status
            known.state, known.request = State(status), None

    @rule(product=st.sampled_from(PRODUCTS), by=st.integers(-3, 4))
    def restock(self, product: str, by: int) -> None:
        stock, available = self.world.stock(product)
        products = ProductsTable(self.world.fault_free, "ProductsTable")
        if stock + by < 0:
            return
        try:
            products.put(product, name=product, unit_price=4599, currency="usd", stock=stock + by)
        except StockBelowReserved:
            assert by < -available
        else:
            assert by >= -available
            self.world.initial_stock[product] += by

    @rule(seconds=st.sampled_from([1, 61, 25 * 60 * 60]))
    def let_time_pass(self, seconds: int) -> None:
        self.passed += timedelta(seconds=seconds)

    @rule(mishap=mishaps)
    def reconcile(self, mishap: Plan) -> None:
        ends = {order_id: self.end(known) for order_id, known in self.known.items() if known.state is State.IN_FLIGHT}
        self.live(mishap, self.world.reconcile)
        for order_id, end in ends.items():
            self.learn(self.known[order_id], {end} if mishap is no_faults else {end, State.IN_FLIGHT})

    @rule()
    def let_late_requests_arrive(self) -> None:
        """A claim, a settlement, a void, a confirmation at Stripe: whatever nobody waits for any more."""
        for injection in self.under_way:
            injection.deliver_late()
        self.under_way.clear()
        for known in self.known.values():
            self.learn(known, MAY_FOLLOW[known.state])

    @rule(order_id=orders, about=orders, mishap=mishaps)
    def tell_news(self, order_id: str, about: str, mishap: Plan) -> None:
        """News of an order's own intents, or of another's, true or not, again and again."""
        known = self.known[order_id]
        for intent_id in [intent.id for intent in self.intents_of(about)] or ["pi_nobody"]:
            before = known.state
            end = self.end(known) if before is State.IN_FLIGHT and order_id == about else before
            leased = known.started_at is not None and known.started_at > self.now() - payments.LEASE
            if end is State.CANCELLED and leased:
                end = before
            self.live(mishap, lambda intent_id=intent_id: self.follow(order_id, intent_id))
            self.learn(known, {before, end})
            if mishap is no_faults and intent_id == self.intent_of_attempt(known):
                assert known.state is end

    @invariant()
    def what_always_holds(self) -> None:
        self.world.check_invariants()
        assert {order.order_id: state_of(order) for order in self.world.all_orders()} == {
            order_id: known.state for order_id, known in self.known.items()
        }

    def teardown(self) -> None:
        try:
            self.let_late_requests_arrive()
            self.let_time_pass(60 * 60)
            self.reconcile(no_faults)
            self.what_always_holds()
            self.world.check_settled()
        finally:
            self._clock.stop()

    def live(self, mishap: Plan, do: Callable[[], object]) -> object:
        """What the step returns, or None where it died, or may have been misled by a request that is late."""
        with inject_faults(self.world, mishap) as injection, suppress(Killed, Busy):
            answer = do()
            if not injection.late:
                return answer
        assert mishap is not no_faults
        self.under_way.append(injection)
        return None

    def learn(self, known: Known, possible: set[State]) -> None:
        """See what is recorded, which has to be possible."""
        recorded = self.world.read_order(known.order)
        known.state = state_of(recorded)
        assert known.state in possible
        known.request = None
        known.too_many = recorded.reason == payments.TOO_MANY_ATTEMPTS
        if attempt := recorded.attempt:
            known.request, known.started_at = (attempt.idempotency_key, attempt.payment_method_id), attempt.started_at
            known.short = bool(attempt.shortages)

    def is_short(self, known: Known) -> bool:
        """Return whether the shelf has too little for an order."""
        return any(self.left(product, State.CONFIRMED) < n for product, n in known.order.quantities().items())

    def is_held(self, known: Known) -> bool:
        """Return whether the shelf has enough for an order, and payments in flight hold some of it."""
        return not self.is_short(known) and any(
            self.left(product, State.CONFIRMED, State.IN_FLIGHT) < n for product, n in known.order.quantities().items()
        )

    def left(self, product: str, *states: State) -> int:
        """Return what the orders in these states leave of a product."""
        gone: Counter[str] = Counter()
        for known in self.known.values():
            if known.state in states:
                gone.update(known.order.quantities())
        return self.world.initial_stock[product] - gone[product]

    def refusal(self, known: Known, request: tuple[str | None, str]) -> object:
        """Return the answer to a payment of an order that cannot be paid."""
        if known.too_many:
            return TooManyAttempts
        is_repeated = request[0] is not None and request == known.request
        if known.state is State.IN_FLIGHT:
            return OrderStatus.PENDING if is_repeated else PaymentInProgress
        return self.recorded_answer(known) if is_repeated else PaymentAlreadyAttempted

    def refused_answer(self, card: str, *, is_held: bool) -> object:
        """Return the answer to an attempt that leaves its order to be paid again; None to any other."""
        if is_held:
            return Busy
        return {"pm_unknown": InvalidPaymentMethod, "pm_dummy_rate_limited": Busy}.get(card)

    def recorded_answer(self, known: Known) -> object:
        """Return the answer to the request that made the attempt."""
        if known.state is State.CANCELLED and known.too_many:
            return TooManyAttempts
        if known.state is State.CANCELLED:
            return InsufficientStock if known.short else PaymentFailed
        return OrderStatus.CONFIRMED if known.state is State.CONFIRMED else OrderStatus.PENDING

    def kind(self, answer: object) -> object:
        if isinstance(answer, OrderPaymentError):
            return type(answer)
        return answer.status if isinstance(answer, Order) else answer

    def end(self, known: Known) -> State:
        """To what a payment in flight has to come now, by Stripe's books."""
        statuses = {
            finish_processing(intent, self.world.wire.clock()).status
            for intent in self.intents_of(known.order.order_id)
        }
        if Status.SUCCEEDED in statuses:
            return State.CONFIRMED
        return State.IN_FLIGHT if Status.PROCESSING in statuses else State.CANCELLED

    def intents_of(self, order_id: str) -> list[Intent]:
        return [intent for intent in self.world.store.intents() if intent.metadata["orderId"] == order_id]

    def intent_of_attempt(self, known: Known) -> str | None:
        return self.world.read_order(known.order).payment_intent_id

    def follow(self, order_id: str, intent_id: str) -> Order | Busy:
        try:
            return payments.follow_intent(
                order_id, intent_id, orders=self.world.orders, stripe=self.world.stripe, deadline=Deadline.after(28)
            )
        except Busy as busy:
            # Other payments may hold the units that late money is to buy.
            return busy


def state_of(order: Order) -> State:
    if order.status is OrderStatus.PENDING:
        return State.PAYABLE if order.is_payable else State.IN_FLIGHT
    return State(order.status)


def test_whatever_happens_no_order_is_charged_wrongly_and_no_unit_is_lost(engine: str) -> None:
    AnyStory.tables = World.fresh(client_of(engine), client_of(engine))
    profile = PROFILES[os.environ.get("HYPOTHESIS_PROFILE", "fixed")]
    run_state_machine_as_test(AnyStory, settings=profile)
