"""Concurrency on an engine that isolates transactions: no unit is sold twice, no buyer is charged twice."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import stripe
from mypy_boto3_dynamodb import DynamoDBClient

from dummy_stripe import Store
from dummy_stripe.http_client import DummyStripeHTTPClient
from harness.dynamodb_local import client_of
from harness.functions import load_function
from order_payments import payments
from order_payments.domain.errors import Busy, StockBelowReserved
from order_payments.domain.orders import Order, OrderStatus
from order_payments.runtime.clock import Deadline, utc_now
from order_payments.stripe_adapter.gateway import StripeGateway
from tests.support.concurrency import BuyerProcesses, Purchase, StaffRefund, run_concurrently
from tests.support.function_shop import FunctionShop
from tests.support.world import VALID_FOR, World

PROCESSES = 4
IN_AN_HOUR = timedelta(hours=1)
LOST_REPLIES = ("pm_dummy_timeout_after_charge", "pm_dummy_timeout_before_charge")


@pytest.fixture(scope="module")
def buyers(engine: str) -> Iterator[BuyerProcesses]:
    with BuyerProcesses.on(engine, PROCESSES) as processes:
        yield processes


def second_world(world: World) -> World:
    """Return another world on the same tables, with its own Stripe client."""
    return World(world.service, world.fault_free)


def test_200_buyers_of_50_units_confirm_exactly_50_orders(world: World, buyers: BuyerProcesses) -> None:
    world.add_product("tea", 50)
    purchases = [Purchase(world.place({"tea": 1}, f"buyer-{number}")) for number in range(200)]

    answers = buyers.pay(purchases, at_a_time=32)

    del answers["Busy"]
    assert answers == {"confirmed": 50, "InsufficientStock": 150}
    assert world.stock("tea") == (0, 0)
    world.check_settled()


def test_holds_of_refused_payments_cancel_no_other_order(world: World, buyers: BuyerProcesses) -> None:
    world.add_product("tea", 50)
    purchases = [Purchase(world.place({"tea": 1}, f"buyer-{number}")) for number in range(40)]
    refused = [Purchase(world.place({"tea": 25}, "mallory"), "pm_unknown") for _ in range(10)]

    answers = buyers.pay([p for pair in zip(purchases, refused * 4, strict=True) for p in pair], at_a_time=32)

    assert answers["confirmed"] == 40
    assert answers["InsufficientStock"] <= 40  # mallory's orders, once the stock is below 25
    assert {world.read_order(purchase.order).status for purchase in purchases} == {OrderStatus.CONFIRMED}
    world.check_settled()


def test_stripe_rate_limit_cancels_no_order(engine: str, world: World) -> None:
    orders = []
    for number in range(80):
        world.add_product(f"product-{number}", 1)
        orders.append(world.place({f"product-{number}": 1}, f"buyer-{number}"))
    wire = RateLimitedStripe(world.store)

    def buy(order: Order) -> str:
        buyer = World(client_of(engine), world.fault_free)
        buyer.stripe = StripeGateway(stripe.StripeClient("sk_test_world", http_client=wire), wire, sleep=time.sleep)
        while isinstance(answer := buyer.pay(order), Busy):
            time.sleep(answer.retry_after_seconds)  # as Retry-After asks
        return answer.status if isinstance(answer, Order) else type(answer).__name__

    answers = Counter(run_concurrently([partial(buy, order) for order in orders]))

    assert answers == {OrderStatus.CONFIRMED: 80}
    assert wire.refused > 0
    world.check_settled()


def test_50_payments_of_one_order_charge_once(world: World, buyers: BuyerProcesses) -> None:
    world.add_product("tea", 50)
    order = world.place({"tea": 1})

    answers = buyers.pay([Purchase(order)] * 50, at_a_time=52)

    assert answers["confirmed"] == 1
    assert set(answers) <= {"confirmed", "PaymentInProgress", "PaymentAlreadyAttempted"}
    assert (world.charges_of(order), world.stock("tea")) == (1, (49, 49))
    world.check_settled()


def test_payments_during_expiry_confirm_or_cancel_each_order(world: World, buyers: BuyerProcesses) -> None:
    world.add_product("tea", 100)
    expired, *expiring, valid = (
        world.place({"tea": 1}, at=utc_now() - VALID_FOR + timedelta(seconds=left))
        for left in (0, *(number / 20 for number in range(60)), 3600)
    )

    # Two buyers pay each order, and it may expire between them.
    answers = buyers.pay([Purchase(order) for order in (expired, *expiring, valid) for _ in range(2)], at_a_time=32)

    assert set(answers) <= {"confirmed", "PaymentInProgress", "PaymentAlreadyAttempted", "OrderExpired", "Busy"}
    assert world.read_order(expired).reason == payments.ORDER_EXPIRED
    assert world.read_order(valid).status is OrderStatus.CONFIRMED
    assert not any(world.read_order(order).status is OrderStatus.PENDING for order in expiring)
    world.check_settled()


def test_50_concurrent_refunds_return_no_more_than_the_charge(world: World, buyers: BuyerProcesses) -> None:
    rng = random.Random(18)  # noqa: S311 - the same amounts each time
    world.add_product("tea", 50)
    order = world.place({"tea": 10})
    world.pay(order)
    refunds = [StaffRefund(order, rng.randint(1, 3000), {"tea": 1} if rng.random() < 0.5 else {}) for _ in range(50)]
    admins_left = Countdown(1)

    def refund() -> Counter[str]:
        try:
            return buyers.run(refunds, at_a_time=52)
        finally:
            admins_left.end()

    def reconcile() -> None:
        own_world = second_world(world)
        while not admins_left.is_reached():
            with suppress(Busy):
                own_world.reconcile_one(order.order_id)

    answers, _ = run_concurrently([refund, reconcile])
    world.reconcile()

    assert set(answers) <= {"succeeded", "owed", "RefundTooLarge", "NotRefundable", "Busy"}
    assert answers["RefundTooLarge"] > 0
    world.check_settled()
    recorded = world.read_order(order).refunds
    (charge,) = world.charges_at_stripe(order)
    assert {(refund.stripe_refund_id, refund.amount) for refund in recorded} == {
        (refund.id, refund.amount) for refund in charge.refunds
    }
    assert len(recorded) == answers["succeeded"] + answers["owed"] == len(charge.refunds)
    assert charge.amount_refunded <= order.total_amount
    assert 40 < world.stock("tea")[0] <= 50


def test_overlapping_baskets_leave_no_unit_held_or_missing(world: World, buyers: BuyerProcesses) -> None:
    rng = random.Random(3)  # noqa: S311 - the same baskets each time
    products = [f"product-{number}" for number in range(6)]
    for product_id in products:
        world.add_product(product_id, 25)
    cards = ("pm_card_visa",) * 3 + ("pm_card_chargeDeclined", *LOST_REPLIES)
    purchases = []
    for _ in range(60):
        basket = rng.sample(products, rng.randint(2, 4))
        order = world.place({product_id: rng.randint(1, 2) for product_id in basket})
        purchases.append(Purchase(order, rng.choice(cards)))

    # Payments with a lost reply hold their units until they are reconciled, so other buyers are answered busy.
    answers = buyers.pay(purchases, at_a_time=32, max_attempts=3)
    world.check_invariants()
    world.reconcile()
    unpaid = [purchase for purchase in purchases if world.read_order(purchase.order).is_payable]
    answers += buyers.pay(unpaid, at_a_time=32)
    world.reconcile()

    assert set(answers) <= {"confirmed", "pending", "InsufficientStock", "PaymentFailed", "Busy"}
    assert min(answers["confirmed"], answers["pending"], answers["InsufficientStock"]) > 0
    world.check_settled()


@pytest.mark.parametrize("status", [OrderStatus.CONFIRMED, OrderStatus.CANCELLED])
def test_racing_payments_override_and_reconcilers_settle_order_once(
    engine: str, world: World, status: OrderStatus
) -> None:
    world.add_product("tea", 50)

    for head_start in range(0, 16, 2):
        order = world.place({"tea": 1})
        cue, payments_left = Cue(client_of(engine), head_start), Countdown(2)
        payer = partial(pay_and_count_down, order, cue, payments_left)
        admin = partial(override_when, second_world(world), order, status, cue)
        reconciler = partial(reconcile_until, second_world(world), order, payments_left.is_reached)
        run_concurrently([payer, payer, admin, reconciler, reconciler])

        world.reconcile()
        settled = world.read_order(order)
        by_hand = settled.override is not None
        assert settled.status is status if by_hand else settled.status is not OrderStatus.PENDING
        assert world.charges_of(order) == (settled.status is OrderStatus.CONFIRMED and not by_hand)
    world.check_settled()


def test_concurrent_reconcilers_settle_each_order_once(
    world: World, buyers: BuyerProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    FunctionShop.set_environment(monkeypatch)
    reconciler = load_function("reconcile_payments")
    world.add_product("tea", 40)
    purchases = [Purchase(world.place({"tea": 1}), card) for card in LOST_REPLIES * 16]
    assert buyers.pay(purchases, at_a_time=32) == {"pending": 32}
    settlements = count_transactions(world.service)

    def run() -> Any:
        own_world = second_world(world)
        return reconciler.reconcile_payments(
            own_world.orders, own_world.stripe, now=utc_now() + IN_AN_HOUR, deadline=Deadline.after(50)
        )

    tallies = run_concurrently([run, run])

    assert settlements == [32]
    assert sum(tally.left + tally.failed for tally in tallies) == 0
    assert world.stock("tea") == (24, 24)
    world.check_settled()


def test_reconciler_skips_processing_payment_and_settles_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    FunctionShop.set_environment(monkeypatch)
    reconciler = load_function("reconcile_payments")
    world.add_product("tea", 40)
    for card in ("pm_dummy_processing", *LOST_REPLIES):
        world.pay(world.place({"tea": 1}), card)

    tally = reconciler.reconcile_payments(
        world.orders, world.stripe, now=utc_now() + IN_AN_HOUR, deadline=Deadline.after(50)
    )

    assert (tally.settled, tally.left, tally.failed) == (2, 1, 0)
    world.check_invariants()


def test_restocking_during_payments_loses_no_unit(engine: str, world: World) -> None:
    world.add_product("tea", 30)
    purchases = [
        (world.place({"tea": 1}), card) for card in ("pm_card_visa", "pm_card_chargeDeclined", *LOST_REPLIES) * 8
    ]
    payments_left = Countdown(len(purchases))
    sellers = client_of(engine)
    changes = record_stock_changes(sellers)

    def buy(share: int) -> None:
        own_world = second_world(world)
        for order, card in purchases[share::8]:
            own_world.pay(order, card)
            payments_left.count()

    def restock(amounts: list[int]) -> None:
        own_world = World(sellers, world.fault_free)
        while not payments_left.is_reached():
            for stock in amounts:
                with suppress(Busy, StockBelowReserved):
                    own_world.products.put("tea", name="tea", unit_price=4599, currency="usd", stock=stock)

    def watch() -> None:
        while not payments_left.is_reached():
            stock, available = world.stock("tea")
            assert 0 <= available <= stock

    run_concurrently(
        [*(partial(buy, share) for share in range(8)), partial(restock, [5, 40]), partial(restock, [20]), watch]
    )

    assert len(changes) > 2
    world.initial_stock["tea"] += sum(changes)
    world.check_invariants()
    world.reconcile()
    world.check_settled()


class Cue:
    """A client, and a countdown of the requests that its users send."""

    def __init__(self, client: DynamoDBClient, requests: int) -> None:
        self.client = client
        self.sent = Countdown(requests)
        client.meta.events.register("before-call.dynamodb", lambda **_: self.sent.count())


class Countdown:
    """Is reached after `times` calls of `count`, or by `end`."""

    def __init__(self, times: int) -> None:
        self._left = times
        self._lock = threading.Lock()
        self._reached = threading.Event()
        if not times:
            self._reached.set()

    def count(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._reached.set()

    def end(self) -> None:
        self._reached.set()

    def is_reached(self) -> bool:
        return self._reached.is_set()

    def wait(self) -> None:
        assert self._reached.wait(30)


def pay_and_count_down(order: Order, cue: Cue, payments_left: Countdown) -> None:
    try:
        World(cue.client, cue.client).pay(order)
    finally:
        payments_left.count()
        if payments_left.is_reached():
            cue.sent.end()


def override_when(world: World, order: Order, status: OrderStatus, cue: Cue) -> None:
    cue.sent.wait()
    world.override(order, status)


def reconcile_until(world: World, order: Order, payments_left: Callable[[], bool]) -> None:
    while not payments_left():
        world.reconcile_one(order.order_id)


def count_transactions(client: DynamoDBClient) -> list[int]:
    """Return a list of one number, the count of the client's successful transactions from now on."""
    total, lock = [0], threading.Lock()

    def count(http_response: Any, **_: Any) -> None:
        with lock:
            total[0] += http_response.status_code == 200

    client.meta.events.register("after-call.dynamodb.TransactWriteItems", count)
    return total


def record_stock_changes(client: DynamoDBClient) -> list[int]:
    """Return a list that collects the stock changes of the client's successful restocks from now on.

    A change is the difference between the new stock and the stock in the write's condition.
    """
    changes: list[int] = []

    def read(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        after, before = (int(params["ExpressionAttributeValues"][name]["N"]) for name in (":stock", ":stock_before"))
        context["units"] = after - before

    def count(http_response: Any, context: dict[str, Any], **_: Any) -> None:
        if http_response.status_code == 200:
            changes.append(context["units"])

    client.meta.events.register("before-parameter-build.dynamodb.UpdateItem", read)
    client.meta.events.register("after-call.dynamodb.UpdateItem", count)
    return changes


class RateLimitedStripe(DummyStripeHTTPClient):
    """The dummy Stripe with a sandbox's rate limit: 25 requests per second."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.refused = 0
        self._accepted: Counter[int] = Counter()
        self._lock = threading.Lock()

    def request(self, *arguments: Any, **options: Any) -> tuple[str, int, Mapping[str, str]]:
        with self._lock:
            second = int(time.monotonic())
            self._accepted[second] += 1
            if self._accepted[second] > 25:
                self.refused += 1
                return '{"error":{"type":"invalid_request_error","code":"rate_limit","message":"no"}}', 429, {}
        return super().request(*arguments, **options)
