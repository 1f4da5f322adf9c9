"""Random histories of buyers, admins, Stripe and the reconciler, with crashes and late requests, against a model.

Hypothesis generates the histories. The model predicts the result of each step. For a payment in flight it reads the
dummy Stripe's ledger. `HYPOTHESIS_PROFILE=fuzz` generates many more histories and shrinks a failing one.
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

from dummy_stripe import IDEMPOTENCY_SECONDS
from dummy_stripe.objects import Intent, Status
from dummy_stripe.payment_intents import apply_due_changes
from harness.dynamodb_local import client_of
from order_payments import payments
from order_payments.domain.errors import (
    Busy,
    InsufficientStock,
    InvalidPaymentMethod,
    NotRefundable,
    OrderExpired,
    OrderNotPending,
    OrderPaymentError,
    PaymentAlreadyAttempted,
    PaymentFailed,
    PaymentInProgress,
    RefundTooLarge,
    StockBelowReserved,
    TooManyAttempts,
)
from order_payments.domain.orders import MAXIMUM_REFUSED_ATTEMPTS, Order, OrderStatus
from order_payments.domain.refunds import RefundStatus, claimed_amount, restocked_units
from order_payments.refunds import RefundResult
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
from tests.support.world import VALID_FOR, World

# The same histories every time, and not shrunk: shrinking takes minutes on a real engine.
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
REFUSALS = {payments.TOO_MANY_ATTEMPTS: TooManyAttempts, payments.ORDER_EXPIRED: OrderExpired}
MAX_ORDERS = 3
"""Few, so that much happens to each order."""
MAX_REQUEST_INDEX = 7
"""About as many requests as a step sends. A step that sends fewer gets no fault."""


class State(StrEnum):
    """An order's status, with pending split by whether a payment is in flight."""

    PAYABLE = "payable"
    IN_FLIGHT = "in flight"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


# The state after a payment with each card, without faults and with enough stock.
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
class ModelOrder:
    """The model's order. `request` is the attempt's idempotency key and card.

    `refusal` is the error of every payment of an order that is cancelled without an attempt.
    """

    order: Order
    state: State = State.PAYABLE
    request: tuple[str | None, str] | None = None
    started_at: datetime | None = None
    short: bool = False
    refusal: type[OrderPaymentError] | None = None


# Weighted towards the requests that claim, confirm and settle.
requests = st.sampled_from([2, 3, 4, 2, 3, 4, *range(MAX_REQUEST_INDEX + 1)])
cards = st.sampled_from(["pm_card_visa"] * 5 + list(CARDS))
faults = st.one_of(
    st.just(no_faults),
    st.builds(kill_at_index, requests, st.sampled_from([Effect.NONE, Effect.DONE])),
    st.builds(delay_at, requests),
)


class OrderLifecycle(RuleBasedStateMachine):
    """The steps of a history, each with its expected result."""

    tables: World
    orders = Bundle("orders")

    def __init__(self) -> None:
        super().__init__()
        self.world = reset_world(self.tables)
        self.models: dict[str, ModelOrder] = {}
        self.elapsed = timedelta()
        self.late_injections: list[Injection] = []
        self.world.wire.clock = lambda: time.time() + self.elapsed.total_seconds()
        self.world.wire.sleep = lambda _: None
        self._clock = patch.object(payments, "utc_now", self.now)
        self._clock.start()

    def now(self) -> datetime:
        return utc_now() + self.elapsed

    @initialize(tea=st.integers(0, 6), mug=st.integers(0, 6))
    def open_shop(self, tea: int, mug: int) -> None:
        self.world.add_product("tea", tea)
        self.world.add_product("mug", mug)

    @precondition(lambda machine: len(machine.models) < MAX_ORDERS)
    @rule(target=orders, basket=st.dictionaries(st.sampled_from(PRODUCTS), st.integers(1, 3), min_size=1))
    def place(self, basket: dict[str, int]) -> str:
        order = self.world.place(basket, at=self.now())
        self.models[order.order_id] = ModelOrder(order)
        return order.order_id

    @rule(order_id=orders, card=cards, key=st.sampled_from(KEYS), fault=faults)
    def pay(self, order_id: str, card: str, key: str | None, fault: Plan) -> None:
        model = self.models[order_id]
        if model.state is not State.PAYABLE:
            refused = self.unpayable_answer(model, (key, card))
            answer = self.run_step(fault, lambda: self.world.pay(model.order, card, key=key))
            assert answer is None or self.kind(answer) == refused
            return
        model.refusal = self.refusal_of(model)
        model.short = self.is_short(model) and not model.refusal
        model.request, model.started_at = (key, card), self.now()
        is_held = self.is_held(model) and not model.refusal
        possible = State.PAYABLE if is_held else CARDS[card]
        end = State.CANCELLED if model.short or model.refusal else possible
        answer = self.run_step(fault, lambda: self.world.pay(model.order, card, key=key))
        if answer is None:
            is_claimed = not (model.short or model.refusal or is_held)
            self.update_model(model, {State.PAYABLE, end} | ({State.IN_FLIGHT} if is_claimed else set()))
        else:
            model.state = end
            refused = self.payable_answer(card, is_held=is_held) if end is State.PAYABLE else None
            assert self.kind(answer) == (refused or self.recorded_answer(model))

    @rule(order_id=orders, status=st.sampled_from([OrderStatus.CONFIRMED, OrderStatus.CANCELLED]), fault=faults)
    def override(self, order_id: str, status: OrderStatus, fault: Plan) -> None:
        model = self.models[order_id]
        answer = self.run_step(fault, lambda: self.world.override(model.order, status))
        if model.state is State.IN_FLIGHT:
            assert self.kind(answer) in {PaymentInProgress, None}
        elif model.state is not State.PAYABLE:
            assert self.kind(answer) in {OrderNotPending, None}
        elif status is OrderStatus.CONFIRMED and self.is_short(model):
            assert self.kind(answer) in {InsufficientStock, None}
        elif status is OrderStatus.CONFIRMED and self.is_held(model):
            assert self.kind(answer) in {Busy, None}
        elif answer is None:
            self.update_model(model, {State.PAYABLE, State(status)})
        else:
            assert self.kind(answer) == status
            model.state, model.request = State(status), None

    @rule(order_id=orders, amount=st.sampled_from([None, 1, 4599, 50_000]), restock=st.booleans(), fault=faults)
    def refund(self, order_id: str, amount: int | None, fault: Plan, *, restock: bool) -> None:
        """Refund an order, with one unit of its first product. Stripe and the invariants decide the rest."""
        model = self.models[order_id]
        before = self.world.read_order(model.order)
        product, *_ = model.order.quantities()
        answer = self.run_step(
            fault, lambda: self.world.refund(model.order, amount, restock={product: 1} if restock else {})
        )
        if answer is None:
            return
        left = before.total_amount - claimed_amount(before.refunds, before.refundable_intent_id or "")
        if before.refundable_intent_id is None or left <= 0:
            assert self.kind(answer) is NotRefundable
        elif (amount or 0) > left or (restock and not before.restockable_units().get(product)):
            assert self.kind(answer) is RefundTooLarge
        else:
            assert isinstance(answer, RefundResult)
            assert answer.refund.amount == (left if amount is None else amount)
            assert answer.refund.status in {RefundStatus.SUCCEEDED, RefundStatus.OWED}
            assert fault is not no_faults or answer.refund.status is RefundStatus.SUCCEEDED

    @rule(product=st.sampled_from(PRODUCTS), change=st.integers(-3, 4))
    def restock(self, product: str, change: int) -> None:
        stock, available = self.world.stock(product)
        products = ProductsTable(self.world.fault_free, "ProductsTable")
        if stock + change < 0:
            return
        try:
            products.put(product, name=product, unit_price=4599, currency="usd", stock=stock + change)
        except StockBelowReserved:
            assert change < -available
        else:
            assert change >= -available
            self.world.initial_stock[product] += change

    @rule(seconds=st.sampled_from([1, 61, 25 * 60 * 60, 73 * 60 * 60]))
    def advance_time(self, seconds: int) -> None:
        if seconds > IDEMPOTENCY_SECONDS:
            self.deliver_late_requests()  # no request is in flight for a day
        self.elapsed += timedelta(seconds=seconds)

    @rule(fault=faults)
    def reconcile(self, fault: Plan) -> None:
        ends = {order_id: self.end(model) for order_id, model in self.models.items() if model.state is State.IN_FLIGHT}
        self.run_step(fault, self.world.reconcile)
        for order_id, end in ends.items():
            self.update_model(self.models[order_id], {end} if fault is no_faults else {end, State.IN_FLIGHT})

    @rule()
    def deliver_late_requests(self) -> None:
        """Deliver requests whose sender timed out: a claim, a settlement, a void or a confirmation at Stripe."""
        for injection in self.late_injections:
            injection.deliver_late()
        self.late_injections.clear()
        for model in self.models.values():
            self.update_model(model, MAY_FOLLOW[model.state])

    @rule(order_id=orders, about=orders, fault=faults)
    def receive_event(self, order_id: str, about: str, fault: Plan) -> None:
        """Deliver events about the order's own intents, or another order's, whether true or not."""
        model = self.models[order_id]
        for intent_id in [intent.id for intent in self.intents_of(about)] or ["pi_unknown"]:
            before = model.state
            end = self.end(model) if before is State.IN_FLIGHT and order_id == about else before
            leased = model.started_at is not None and model.started_at > self.now() - payments.LEASE
            if end is State.CANCELLED and leased:
                end = before
            self.run_step(fault, lambda intent_id=intent_id: self.follow(order_id, intent_id))
            self.update_model(model, {before, end})
            if fault is no_faults and intent_id == self.intent_of_attempt(model):
                assert model.state is end

    @invariant()
    def check_state(self) -> None:
        self.world.check_invariants()
        assert {order.order_id: state_of(order) for order in self.world.all_orders()} == {
            order_id: model.state for order_id, model in self.models.items()
        }

    def teardown(self) -> None:
        try:
            self.deliver_late_requests()
            self.advance_time(60 * 60)
            self.reconcile(no_faults)
            self.check_state()
            self.world.check_settled()
        finally:
            self._clock.stop()

    def run_step(self, fault: Plan, action: Callable[[], object]) -> object:
        """Return the step's result, or `None` if it was killed, gave up, or a request of it is late."""
        with inject_faults(self.world, fault) as injection, suppress(Killed, Busy):
            answer = action()
            if not injection.late:
                return answer
        assert fault is not no_faults
        self.late_injections.append(injection)
        return None

    def update_model(self, model: ModelOrder, possible: set[State]) -> None:
        """Take the recorded state into the model. It must be one of `possible`."""
        recorded = self.world.read_order(model.order)
        model.state = state_of(recorded)
        assert model.state in possible
        model.request = None
        model.refusal = REFUSALS.get(recorded.reason) if recorded.reason else None
        if attempt := recorded.attempt:
            model.request, model.started_at = (attempt.idempotency_key, attempt.payment_method_id), attempt.started_at
            model.short = bool(attempt.shortages)

    def refusal_of(self, model: ModelOrder) -> type[OrderPaymentError] | None:
        """Return the error with which a payment cancels the payable order now, or `None`."""
        recorded = self.world.read_order(model.order)
        if recorded.is_expired(self.now(), valid_for=VALID_FOR):
            return OrderExpired
        return TooManyAttempts if recorded.refused_attempts >= MAXIMUM_REFUSED_ATTEMPTS else None

    def is_short(self, model: ModelOrder) -> bool:
        """Return whether the stock is below the order's quantities."""
        return any(self.remaining(product, State.CONFIRMED) < n for product, n in model.order.quantities().items())

    def is_held(self, model: ModelOrder) -> bool:
        """Return whether the stock suffices for the order, but payments in flight hold units of it."""
        return not self.is_short(model) and any(
            self.remaining(product, State.CONFIRMED, State.IN_FLIGHT) < n
            for product, n in model.order.quantities().items()
        )

    def remaining(self, product: str, *states: State) -> int:
        """Return the units of a product that orders in these states leave."""
        taken: Counter[str] = Counter()
        for model in self.models.values():
            if model.state in states:
                taken.update(model.order.quantities())
            if model.state is State.CONFIRMED:
                refunds = self.world.read_order(model.order).refunds
                taken.subtract(restocked_units(refund for refund in refunds if not refund.is_owed))
        return self.world.initial_stock[product] - taken[product]

    def unpayable_answer(self, model: ModelOrder, request: tuple[str | None, str]) -> object:
        """Return the answer to a payment of an order that is not payable."""
        if model.refusal:
            return model.refusal
        is_repeated = request[0] is not None and request == model.request
        if model.state is State.IN_FLIGHT:
            return OrderStatus.PENDING if is_repeated else PaymentInProgress
        return self.recorded_answer(model) if is_repeated else PaymentAlreadyAttempted

    def payable_answer(self, card: str, *, is_held: bool) -> object:
        """Return the answer to an attempt that leaves the order payable, or `None` for any other attempt."""
        if is_held:
            return Busy
        return {"pm_unknown": InvalidPaymentMethod, "pm_dummy_rate_limited": Busy}.get(card)

    def recorded_answer(self, model: ModelOrder) -> object:
        """Return the answer to the request that made the attempt."""
        if model.state is State.CANCELLED and model.refusal:
            return model.refusal
        if model.state is State.CANCELLED:
            return InsufficientStock if model.short else PaymentFailed
        return OrderStatus.CONFIRMED if model.state is State.CONFIRMED else OrderStatus.PENDING

    def kind(self, answer: object) -> object:
        if isinstance(answer, OrderPaymentError):
            return type(answer)
        return answer.status if isinstance(answer, Order) else answer

    def end(self, model: ModelOrder) -> State:
        """Return the state to which a payment in flight must be settled now, by the dummy Stripe's ledger."""
        statuses = {
            apply_due_changes(intent, self.world.wire.clock()).status
            for intent in self.intents_of(model.order.order_id)
        }
        if Status.SUCCEEDED in statuses:
            return State.CONFIRMED
        return State.IN_FLIGHT if Status.PROCESSING in statuses else State.CANCELLED

    def intents_of(self, order_id: str) -> list[Intent]:
        return [intent for intent in self.world.store.intents() if intent.metadata["orderId"] == order_id]

    def intent_of_attempt(self, model: ModelOrder) -> str | None:
        return self.world.read_order(model.order).payment_intent_id

    def follow(self, order_id: str, intent_id: str) -> Order | Busy:
        try:
            return payments.follow_intent(
                order_id, intent_id, orders=self.world.orders, stripe=self.world.stripe, deadline=Deadline.after(28)
            )
        except Busy as busy:
            # Other payments may hold the units of a late charge's order.
            return busy


def state_of(order: Order) -> State:
    if order.status is OrderStatus.PENDING:
        return State.PAYABLE if order.is_payable else State.IN_FLIGHT
    return State(order.status)


def test_no_history_charges_wrongly_or_loses_units(engine: str) -> None:
    OrderLifecycle.tables = World.fresh(client_of(engine), client_of(engine))
    profile = PROFILES[os.environ.get("HYPOTHESIS_PROFILE", "fixed")]
    run_state_machine_as_test(OrderLifecycle, settings=profile)
