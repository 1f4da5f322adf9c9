"""A run of the reconciler: it settles every old attempt, no failure blocks the rest, and it stops in time."""

import json
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any, NoReturn

import pytest
import stripe

from delivery.rendering import template
from dummy_stripe.dynamodb_store import DynamoDBStore
from dummy_stripe.http_client import DummyStripeHTTPClient
from harness.functions import Context, load_function
from order_payments.domain.errors import Busy
from order_payments.payments import LEASE
from order_payments.runtime.clock import Deadline, rfc3339
from order_payments.storage.orders_table import OrdersTable
from order_payments.stripe_adapter.gateway import StripeGateway
from order_payments.stripe_adapter.outcomes import Unknown
from tests.support.auditor import write_order
from tests.support.function_shop import FunctionShop
from tests.support.shop import ADMIN, Stock


@pytest.fixture
def reconciler(shop: FunctionShop, monkeypatch: pytest.MonkeyPatch) -> ModuleType:  # noqa: ARG001 - needs tables
    reconciler = load_function("reconcile_payments")
    # One at a time: moto does not isolate transactions. `tests/engine` tries several at once.
    monkeypatch.setattr(reconciler, "CONCURRENCY", 1)
    return reconciler


def in_an_hour() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


def run(reconciler: ModuleType, *, now: datetime | None = None, seconds: float = 50) -> Any:
    now = now or in_an_hour()
    return reconciler.reconcile_payments(
        reconciler.orders, reconciler.stripe, now=now, deadline=Deadline.after(seconds)
    )


def leave_unknown(shop: FunctionShop, product: str, card: str = "pm_dummy_timeout_after_charge") -> str:
    order = shop.order((product, 1))
    assert shop.pay(order, card).status == 202
    return order


def hours_ago(hours: int) -> str:
    return rfc3339(in_an_hour() - timedelta(hours=hours + 1))


def rewrite(shop: FunctionShop, order: str, **attributes: Any) -> None:
    """Write attributes of an order directly to the table."""
    write_order(shop, order, "SET " + ", ".join(f"{name} = :{name}" for name in attributes), **attributes)


def make_unreadable(shop: FunctionShop, order: str) -> None:
    """Remove an attribute that the service needs to read the order."""
    write_order(shop, order, "REMOVE totalAmount")


def item_of(shop: FunctionShop, order: str) -> dict[str, Any]:
    return shop.dynamodb.get_item(TableName="OrdersTable", Key={"orderId": {"S": order}})["Item"]


def unsettled_since(shop: FunctionShop, order: str) -> str:
    """Return `unsettledSince` of the order's entry in the index."""
    return str(item_of(shop, order)["unsettledSince"]["S"])


def record_reads(reconciler: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that receives the ids of the orders read from now on."""
    read: list[str] = []
    get = reconciler.orders.get

    def record(order_id: str) -> Any:
        read.append(order_id)
        return get(order_id)

    monkeypatch.setattr(reconciler.orders, "get", record)
    return read


def time_out_stripe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every request to Stripe time out from now on, without the SDK's retries."""

    def time_out(*_: Any, **__: Any) -> Any:
        raise stripe.APIConnectionError("timed out", should_retry=False)

    monkeypatch.setattr(DummyStripeHTTPClient, "request", time_out)


def test_charged_order_is_confirmed_and_uncharged_order_is_cancelled(
    shop: FunctionShop, reconciler: ModuleType
) -> None:
    product = shop.add_product(stock=5)
    charged = leave_unknown(shop, product, "pm_dummy_timeout_after_charge")
    uncharged = leave_unknown(shop, product, "pm_dummy_timeout_before_charge")

    tally = run(reconciler)

    assert (tally.settled, tally.left, tally.failed) == (2, 0, 0)
    assert shop.status(charged)["status"] == "confirmed"
    assert shop.status(uncharged)["reason"]["code"] == "payment_abandoned"
    assert shop.stock(product) == Stock(stock=4, reserved=0, available=4)


def test_processing_payment_is_left_and_its_age_reported(shop: FunctionShop, reconciler: ModuleType) -> None:
    order = leave_unknown(shop, shop.add_product(), "pm_dummy_processing")

    tally = run(reconciler)

    assert (tally.settled, tally.left, tally.failed) == (0, 1, 0)
    assert 3600 <= tally.oldest_seconds < 4200
    assert shop.status(order)["status"] == "pending"


def test_attempts_of_several_batches_are_all_settled(
    shop: FunctionShop, reconciler: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "BATCH_SIZE", 2)
    product = shop.add_product(stock=50)
    orders = [leave_unknown(shop, product) for _ in range(5)]

    tally = run(reconciler)

    assert tally.settled == 5
    assert {shop.status(order)["status"] for order in orders} == {"confirmed"}


def test_attempts_that_cannot_be_settled_do_not_block_others(
    shop: FunctionShop, reconciler: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "BATCH_SIZE", 1)
    product = shop.add_product(stock=50)
    for _ in range(4):
        leave_unknown(shop, product, "pm_dummy_processing")
    good = [leave_unknown(shop, product) for _ in range(4)]

    tally = run(reconciler)

    assert (tally.settled, tally.left) == (4, 4)
    assert {shop.status(order)["status"] for order in good} == {"confirmed"}


def test_attempts_that_cannot_be_settled_move_to_the_back(
    shop: FunctionShop, reconciler: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "UNSETTLED_SHARDS", ("unsettled-0",))
    product = shop.add_product(stock=5)
    processing, failing, good = (leave_unknown(shop, product, "pm_dummy_processing") for _ in range(3))
    for hours, order in ((3, processing), (2, failing), (1, good)):
        rewrite(shop, order, unsettledShard="unsettled-0", unsettledSince=hours_ago(hours))
    make_unreadable(shop, failing)

    read = record_reads(reconciler, monkeypatch)
    run(reconciler)
    rewrite(shop, good, unsettledSince=hours_ago(1))
    run(reconciler)

    assert read == [processing, failing, good, good, processing, failing]


def test_attempt_left_by_a_run_is_read_by_the_next_run(shop: FunctionShop, reconciler: ModuleType) -> None:
    leave_unknown(shop, shop.add_product(), "pm_dummy_processing")
    now = datetime.now(UTC) + 2 * LEASE

    assert [run(reconciler, now=now).left, run(reconciler, now=now + timedelta(minutes=1)).left] == [1, 1]


def test_run_without_time_to_settle_reports_the_oldest_attempt(shop: FunctionShop, reconciler: ModuleType) -> None:
    order = leave_unknown(shop, shop.add_product())
    listed = unsettled_since(shop, order)

    tally = run(reconciler, seconds=reconciler.ORDER_TIME_LIMIT_SECONDS - 1)

    assert (tally.settled, tally.left) == (0, 1)
    assert 3600 <= tally.oldest_seconds < 4200
    assert unsettled_since(shop, order) == listed


def test_no_shard_is_queried_without_time_for_a_query(
    shop: FunctionShop, reconciler: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_unknown(shop, shop.add_product())
    unsettled = reconciler.orders.unsettled
    monkeypatch.setattr(unsettled, "entries", lambda *_, **__: pytest.fail("there is no time for a query"))

    assert run(reconciler, seconds=reconciler.DYNAMODB_CALL_SECONDS - 1).left == 0


def test_run_takes_most_of_a_minute_and_ends_before_the_next(reconciler: ModuleType) -> None:
    timeout = template()["Resources"]["ReconcilePaymentsFunction"]["Properties"]["Timeout"]

    assert 55 <= timeout - reconciler.RECONCILER_REPORT_SECONDS - reconciler.ORDER_TIME_LIMIT_SECONDS <= 60


def test_run_stops_after_several_timeouts_of_stripe(
    shop: FunctionShop, reconciler: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "UNANSWERED_LIMIT", 2)
    product = shop.add_product(stock=9)
    orders = [leave_unknown(shop, product) for _ in range(5)]
    for hours, order in enumerate(orders):
        rewrite(shop, order, unsettledSince=hours_ago(9 - hours))
    listed = [unsettled_since(shop, order) for order in orders]
    time_out_stripe(monkeypatch)

    tried = record_reads(reconciler, monkeypatch)
    tally = run(reconciler)

    assert (tally.left, tally.settled, tally.failed) == (5, 0, 0)
    assert round(tally.oldest_seconds / 3600) == 10
    assert tried == orders[:2]
    assert [unsettled_since(shop, order) for order in orders][2:] == listed[2:]


def test_run_continues_while_payments_are_processing(
    shop: FunctionShop, reconciler: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "UNANSWERED_LIMIT", 2)
    product = shop.add_product(stock=9)
    processing = [leave_unknown(shop, product, "pm_dummy_processing") for _ in range(4)]
    for order in processing:
        rewrite(shop, order, unsettledSince=hours_ago(9))
    good = leave_unknown(shop, product)

    tally = run(reconciler)

    assert (tally.settled, tally.left) == (1, 4)
    assert shop.status(good)["status"] == "confirmed"


@pytest.mark.parametrize("paid", [True, False])
def test_index_entry_with_nothing_to_settle_is_cleared(shop: FunctionShop, reconciler: ModuleType, paid: bool) -> None:
    order = shop.order((shop.add_product(), 1))
    if paid:
        shop.pay(order)
    rewrite(shop, order, unsettledShard="unsettled-0", unsettledSince=hours_ago(1))

    tallies = [run(reconciler), run(reconciler)]

    assert [(tally.cleared, tally.settled, tally.failed) for tally in tallies] == [(1, 0, 0), (0, 0, 0)]
    assert not item_of(shop, order).keys() & {"unsettledShard", "unsettledSince", "firstUnsettledSince"}
    assert shop.status(order)["status"] == ("confirmed" if paid else "pending")


def test_index_entry_dated_in_the_future_is_settled(shop: FunctionShop, reconciler: ModuleType) -> None:
    order = leave_unknown(shop, shop.add_product())
    rewrite(shop, order, unsettledSince="2999-01-01T00:00:00.000Z")

    assert run(reconciler).settled == 1
    assert shop.status(order)["status"] == "confirmed"


def test_attempt_dated_in_the_future_is_settled_after_a_lease(shop: FunctionShop, reconciler: ModuleType) -> None:
    order = leave_unknown(shop, shop.add_product())
    in_2999 = "2999-01-01T00:00:00.000Z"
    rewrite(shop, order, unsettledSince=in_2999)
    write_order(shop, order, "SET #payment.startedAt = :then", then=in_2999)
    now = datetime.now(UTC)

    tallies = [run(reconciler, now=now + later) for later in (timedelta(), timedelta(seconds=20), 2 * LEASE)]

    assert [(tally.left, tally.settled) for tally in tallies] == [(1, 0), (0, 0), (0, 1)]
    assert shop.status(order)["status"] == "confirmed"


def test_unreadable_order_does_not_fail_the_others(shop: FunctionShop, reconciler: ModuleType) -> None:
    product = shop.add_product(stock=5)
    broken, good = leave_unknown(shop, product), leave_unknown(shop, product)
    make_unreadable(shop, broken)

    tally = run(reconciler)

    assert (tally.settled, tally.failed) == (1, 1)
    assert 3600 <= tally.oldest_seconds < 4200
    assert shop.status(good)["status"] == "confirmed"


def test_reported_age_of_a_failing_order_increases_with_each_run(shop: FunctionShop, reconciler: ModuleType) -> None:
    order = leave_unknown(shop, shop.add_product())
    make_unreadable(shop, order)

    ages = [run(reconciler, now=datetime.now(UTC) + timedelta(hours=hours)).oldest_seconds for hours in (1, 2, 3)]

    assert [round(age / 3600) for age in ages] == [1, 2, 3]


def test_settled_order_loses_its_index_attributes(shop: FunctionShop, reconciler: ModuleType) -> None:
    order = leave_unknown(shop, shop.add_product())
    total = int(item_of(shop, order)["totalAmount"]["N"])
    make_unreadable(shop, order)
    run(reconciler)
    assert "firstUnsettledSince" in item_of(shop, order)

    rewrite(shop, order, totalAmount=total)
    assert run(reconciler).settled == 1

    assert not item_of(shop, order).keys() & {"unsettledShard", "unsettledSince", "firstUnsettledSince"}


@pytest.mark.parametrize("since", ["0", "2020-01-01T00:00:00.000", "zzz", "2999-13-32T00:00:00.000Z"])
def test_attempt_with_an_invalid_time_fails_once_and_is_then_settled(
    shop: FunctionShop, reconciler: ModuleType, since: str
) -> None:
    product = shop.add_product(stock=5)
    odd, good = leave_unknown(shop, product), leave_unknown(shop, product)
    rewrite(shop, odd, unsettledSince=since)

    tallies = [run(reconciler), run(reconciler)]

    assert [(tally.settled, tally.failed) for tally in tallies] == [(1, 1), (1, 0)]
    assert {shop.status(order)["status"] for order in (odd, good)} == {"confirmed"}


def test_throttled_shard_does_not_block_the_others(
    shop: FunctionShop, reconciler: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    product = shop.add_product(stock=50)
    orders = [leave_unknown(shop, product) for _ in range(4)]
    for number, order in enumerate(orders):
        rewrite(shop, order, unsettledShard=f"unsettled-{number}")
    find = reconciler.orders.unsettled.entries

    def throttled(shard: str, **by: Any) -> Any:
        if shard == "unsettled-1":
            raise Busy("throttled")
        return find(shard, **by)

    monkeypatch.setattr(reconciler.orders.unsettled, "entries", throttled)
    tally = run(reconciler)

    assert (tally.settled, tally.failed) == (3, 1)
    assert [shop.status(order)["status"] for order in orders] == ["confirmed", "pending", "confirmed", "confirmed"]


@pytest.mark.parametrize("is_listed_as_old", [True, False])
def test_attempt_within_its_lease_is_not_settled(
    shop: FunctionShop, reconciler: ModuleType, *, is_listed_as_old: bool
) -> None:
    order = leave_unknown(shop, shop.add_product())
    if is_listed_as_old:
        rewrite(shop, order, unsettledSince=hours_ago(1))

    tally = run(reconciler, now=datetime.now(UTC))

    assert (tally.settled, tally.left, tally.failed) == (0, int(is_listed_as_old), 0)
    assert shop.status(order)["status"] == "pending"


def test_owed_refund_is_sent_and_counted_as_refunded(shop: FunctionShop, reconciler: ModuleType) -> None:
    order = shop.order((shop.add_product(), 1))
    intent = shop.pay(order).body["paymentIntentId"]
    owed = {"paymentIntentId": intent, "owedSince": hours_ago(1)}
    rewrite(shop, order, refund=owed, unsettledShard="unsettled-0", unsettledSince=hours_ago(1))

    tally = run(reconciler)

    assert (tally.settled, tally.refunded) == (0, 1)
    assert item_of(shop, order)["refund"]["M"]["refundId"]["S"].startswith("re_")


def refund_without_a_reply(shop: FunctionShop, monkeypatch: pytest.MonkeyPatch, *, is_sent: bool) -> str:
    """Return a paid order with a staff refund of 100 that stays owed, and whether Stripe has it."""
    order = shop.order((shop.add_product(), 1))
    shop.pay(order)
    create_refund = StripeGateway.create_refund

    def lose_the_reply(*args: Any, **by: Any) -> Unknown:
        if is_sent:
            create_refund(*args, **by)
        return Unknown()

    with monkeypatch.context() as patch:
        patch.setattr(StripeGateway, "create_refund", lose_the_reply)
        reply = shop.call("POST", f"/admin/orders/{order}/refunds", ADMIN, {"reason": "Broken.", "amount": 100})
    assert (reply.status, reply.body["status"], reply.body["stripeRefundId"]) == (202, "pending", None)
    return order


@pytest.mark.parametrize("is_sent", [True, False])
def test_staff_refund_with_an_unknown_result_is_made_once(
    shop: FunctionShop, reconciler: ModuleType, monkeypatch: pytest.MonkeyPatch, *, is_sent: bool
) -> None:
    order = refund_without_a_reply(shop, monkeypatch, is_sent=is_sent)

    tally = run(reconciler)

    assert (tally.refunded, tally.left, tally.failed) == (1, 0, 0)
    (refund,) = shop.call("GET", f"/admin/orders/{order}/refunds", ADMIN).body["refunds"]
    assert (refund["status"], shop.status(order)["refundedAmount"]) == ("succeeded", 100)
    (charge,) = DynamoDBStore(shop.dynamodb, "DummyStripeTable").charges()
    assert [each.id for each in charge.refunds] == [refund["stripeRefundId"]]
    assert "unsettledShard" not in item_of(shop, order)


def test_refund_whose_result_cannot_be_recorded_stays_pending(
    shop: FunctionShop, reconciler: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order)

    def fail(*_: object, **__: object) -> NoReturn:
        raise Busy("The database does not respond.")

    with monkeypatch.context() as patch:
        patch.setattr(OrdersTable, "record_refund", fail)
        reply = shop.call("POST", f"/admin/orders/{order}/refunds", ADMIN, {"reason": "Broken.", "amount": 100})

    assert (reply.status, reply.body["status"]) == (202, "pending")
    assert run(reconciler).refunded == 1
    assert shop.status(order)["refundedAmount"] == 100


def test_pending_refund_is_asked_about_hourly_and_raises_no_age(shop: FunctionShop, reconciler: ModuleType) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order, "pm_card_pendingRefund")
    shop.call("POST", f"/admin/orders/{order}/refunds", ADMIN, {"reason": "Broken."})
    assert run(reconciler, now=datetime.now(UTC) + timedelta(minutes=50)).left == 0

    tally = run(reconciler, now=datetime.now(UTC) + timedelta(hours=2))

    assert (tally.refunded, tally.left, tally.oldest_seconds) == (0, 1, 0)
    assert unsettled_since(shop, order) > rfc3339(datetime.now(UTC) + timedelta(minutes=50))


def test_age_of_an_owed_refund_ignores_an_older_pending_one(
    shop: FunctionShop, reconciler: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order, "pm_card_pendingRefund")
    path = f"/admin/orders/{order}/refunds"
    shop.call("POST", path, ADMIN, {"reason": "Broken.", "amount": 100})
    (pending,) = item_of(shop, order)["refunds"]["L"]
    old = {name: next(iter(value.values())) for name, value in pending["M"].items()}
    rewrite(shop, order, refunds=[{**old, "amount": 100, "createdAt": hours_ago(72)}])
    monkeypatch.setattr(StripeGateway, "create_refund", lambda *_, **__: Unknown())
    shop.call("POST", path, ADMIN, {"reason": "Broken.", "amount": 100})

    assert run(reconciler, now=datetime.now(UTC) + timedelta(minutes=2)).oldest_seconds < 3600


def test_refund_of_a_disputed_late_payment_is_not_retried(shop: FunctionShop, reconciler: ModuleType) -> None:
    order = shop.order((shop.add_product(), 1))
    intent = shop.pay(order, "pm_card_createDispute").body["paymentIntentId"]
    owed = {"paymentIntentId": intent, "owedSince": hours_ago(1)}
    rewrite(shop, order, refund=owed, unsettledShard="unsettled-0", unsettledSince=hours_ago(1))

    assert run(reconciler).left == 0

    (refund,) = shop.call("GET", f"/admin/orders/{order}/refunds", ADMIN).body["refunds"]
    assert (refund["kind"], refund["status"]) == ("late_payment", "refused")
    assert "unsettledShard" not in item_of(shop, order)


def test_run_stops_at_its_deadline_and_the_next_one_continues(shop: FunctionShop, reconciler: ModuleType) -> None:
    product = shop.add_product()
    orders = [leave_unknown(shop, product) for _ in range(2)]
    since = hours_ago(5)
    rewrite(shop, orders[1], unsettledSince=since)

    class ExpiresAfterQueries(Deadline):
        """A deadline that expires once every shard was queried."""

        left = len(reconciler.UNSETTLED_SHARDS) + len(reconciler.REFUND_SHARDS)

        def remaining(self) -> float:
            self.left -= 1
            return float(reconciler.ORDER_TIME_LIMIT_SECONDS + (1 if self.left >= 0 else -1))

    stopped = reconciler.reconcile_payments(
        reconciler.orders, reconciler.stripe, now=in_an_hour(), deadline=ExpiresAfterQueries.after(0)
    )

    assert (stopped.settled, stopped.left) == (0, 2)
    assert 6 * 3600 <= stopped.oldest_seconds < 6 * 3600 + 600
    assert unsettled_since(shop, orders[1]) == since
    assert run(reconciler).settled == 2
    assert {shop.status(order)["status"] for order in orders} == {"confirmed"}


def test_function_returns_its_tally(shop: FunctionShop, reconciler: ModuleType) -> None:
    leave_unknown(shop, shop.add_product())

    response = reconciler.handler({"source": "aws.events"}, Context(50))

    assert json.loads(json.dumps(response)) == {
        "settled": 0,
        "refunded": 0,
        "cleared": 0,
        "left": 0,
        "failed": 0,
        "oldest_seconds": 0,
    }
