"""Refunds whose events, records and retries meet in an unusual order, and refunds in the form of version 0.1.0."""

from collections.abc import Callable
from typing import Any

import pytest
import stripe

from dummy_stripe import IDEMPOTENCY_SECONDS
from dummy_stripe.http_client import DummyStripeHTTPClient
from harness.dynamodb_local import client_of
from order_payments import payments
from order_payments.domain.errors import Busy, NotRefundable, RefundTooLarge
from order_payments.domain.orders import Order, OrderStatus
from order_payments.domain.refunds import RefundKind, RefundStatus
from order_payments.refunds import RefundResult
from order_payments.runtime.clock import Deadline, rfc3339, utc_now
from order_payments.storage.dynamodb import to_wire
from order_payments.storage.order_writes import order_key, shard_of
from order_payments.storage.orders_table import RefundsChanged
from tests.support.fault_injection import (
    Effect,
    Killed,
    fail_each,
    inject_faults,
    kill_at,
    reset_world,
    run_before,
    stripe_connection_error,
)
from tests.support.world import World

STAFF, LATE, EXTERNAL = RefundKind.STAFF, RefundKind.LATE_PAYMENT, RefundKind.EXTERNAL
SUCCEEDED, FAILED, REFUSED = RefundStatus.SUCCEEDED, RefundStatus.FAILED, RefundStatus.REFUSED


@pytest.fixture(scope="module")
def tables(engine: str) -> World:
    return World.fresh(client_of(engine), client_of(engine))


@pytest.fixture
def world(tables: World) -> World:
    world = reset_world(tables)
    world.add_product("tea", 5)
    return world


def test_event_that_precedes_the_record_restocks_once(world: World) -> None:
    order = paid_order(world)
    run_before(world.orders, "record_refund", lambda: second_world(world).follow_refund(stripe_refund_of(world, order)))

    result = world.refund(order, 1000, restock={"tea": 1})

    assert isinstance(result, RefundResult)
    assert (result.refund.status, result.refund.amount) == (SUCCEEDED, 1000)
    assert kinds_of(world, order) == [(STAFF, SUCCEEDED)]
    assert world.stock("tea") == (4, 4)
    world.check_settled()


def test_refund_is_not_repeated_after_stripe_has_forgotten_its_key(world: World) -> None:
    order = paid_order(world)
    with inject_faults(world, kill_at("refund", Effect.DONE)), pytest.raises(Killed):
        world.refund(order, 1000)
    pass_seconds(world, IDEMPOTENCY_SECONDS + 1)

    world.reconcile()

    assert world.refunded_at_stripe(order) == 1000
    assert kinds_of(world, order) == [(STAFF, SUCCEEDED)]
    world.check_settled()


def test_refund_without_response_is_pending_and_replayed(world: World) -> None:
    order = paid_order(world)
    with inject_faults(world, fail_each("refund", stripe_connection_error(Effect.NONE))):
        first = world.refund(order, 1000, key="return-1")

    again = world.refund(order, 1000, key="return-1")

    assert isinstance(first, RefundResult)
    assert isinstance(again, RefundResult)
    assert (first.refund.status, first.replayed) == (RefundStatus.OWED, False)
    assert (again.refund, again.replayed) == (first.refund, True)
    assert world.refunded_at_stripe(order) == 0


def test_sent_refund_that_cannot_be_recorded_is_pending_not_busy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    order = paid_order(world)
    with monkeypatch.context() as patch:
        patch.setattr(world.orders, "record_refund", raise_busy)
        result = world.refund(order, 1000)

    assert isinstance(result, RefundResult)
    assert result.refund.is_owed
    assert world.refunded_at_stripe(order) == 1000
    world.reconcile()
    assert kinds_of(world, order) == [(STAFF, SUCCEEDED)]
    world.check_settled()


@pytest.mark.parametrize("reason", ["contention", "database busy"])
def test_event_that_cannot_be_recorded_is_sent_again(
    world: World, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    order = paid_order(world)
    world.refund(order, 1000)
    refund_id = stripe_refund_of(world, order)
    world.fail_refund(refund_id)
    record = raise_refunds_changed(world, order) if reason == "contention" else raise_busy
    with monkeypatch.context() as patch:
        patch.setattr(world.orders, "record_refund", record)
        patch.setattr("order_payments.runtime.retry_budgets.SETTLE_BUDGET_SECONDS", 0.1)
        answer = world.follow_refund(refund_id)

    assert isinstance(answer, Busy)
    world.follow_refund(refund_id)
    assert kinds_of(world, order) == [(STAFF, FAILED)]
    world.check_settled()


def test_failure_after_the_restock_keeps_the_units_and_frees_the_amount(world: World) -> None:
    order = paid_order(world)
    world.refund(order, restock={"tea": 2})
    world.fail_refund(stripe_refund_of(world, order))
    world.follow_refund(stripe_refund_of(world, order))

    again = world.refund(order, restock={"tea": 1})
    without_restock = world.refund(order)

    assert isinstance(again, RefundTooLarge)
    assert isinstance(without_restock, RefundResult)
    assert without_restock.refund.amount == order.total_amount
    assert kinds_of(world, order) == [(STAFF, FAILED), (STAFF, SUCCEEDED)]
    assert world.stock("tea") == (5, 5)
    world.check_settled()


def test_dashboard_refund_leaves_too_little_for_a_staff_refund(world: World) -> None:
    order = paid_order(world)
    found: list[str] = []
    run_before(world.stripe, "create_refund", lambda: found.append(world.refund_without_service(order, 5000)))

    answer = world.refund(order, 5000, restock={"tea": 1})
    world.follow_refund(found[0])

    assert isinstance(answer, NotRefundable)
    assert kinds_of(world, order) == [(STAFF, REFUSED), (EXTERNAL, SUCCEEDED)]
    assert world.stock("tea") == (3, 3)
    world.check_settled()


def test_dashboard_refund_between_check_and_write_is_counted(world: World) -> None:
    order = paid_order(world)

    def refund_in_dashboard() -> None:
        second_world(world).follow_refund(world.refund_without_service(order, 5000))

    run_before(world.orders, "owe_refund", refund_in_dashboard)

    answer = world.refund(order, 5000)

    assert isinstance(answer, RefundTooLarge)
    assert kinds_of(world, order) == [(EXTERNAL, SUCCEEDED)]
    world.check_settled()


def test_dashboard_refund_that_fails_later_frees_its_amount(world: World) -> None:
    order = paid_order(world)
    refund_id = world.refund_without_service(order)
    world.follow_refund(refund_id)
    world.fail_refund(refund_id)
    world.follow_refund(refund_id)

    answer = world.refund(order)

    assert isinstance(answer, RefundResult)
    assert kinds_of(world, order) == [(EXTERNAL, FAILED), (STAFF, SUCCEEDED)]
    world.check_settled()


def test_events_of_a_refund_in_any_order_record_its_last_state(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    order = paid_order(world, "pm_card_pendingRefund")
    world.refund(order, 1000)
    refund_id = stripe_refund_of(world, order)
    stale = world.stripe.retrieve_refund(refund_id, deadline=Deadline.after(28))
    world.fail_refund(refund_id)
    world.follow_refund(refund_id)

    monkeypatch.setattr(world.stripe, "retrieve_refund", lambda *_, **__: stale)
    world.follow_refund(refund_id)

    assert kinds_of(world, order) == [(STAFF, FAILED)]


@pytest.mark.parametrize("was_reported", [False, True], ids=["unreported", "reported"])
def test_late_payment_that_was_refunded_in_the_dashboard_is_counted_once(world: World, *, was_reported: bool) -> None:
    order, intent_id = charge_late(world)
    with inject_faults(world, fail_each("refund", stripe_connection_error(Effect.NONE))):
        follow_intent(world, order, intent_id)
    refund_id = world.refund_without_service(order)
    if was_reported:
        world.follow_refund(refund_id)

    world.reconcile()
    world.follow_refund(refund_id)

    recorded = world.read_order(order)
    assert kinds_of(world, order) == ([(LATE, REFUSED), (EXTERNAL, SUCCEEDED)] if was_reported else [(LATE, SUCCEEDED)])
    assert recorded.refunded_amount == world.refunded_at_stripe(order) == order.total_amount
    assert not recorded.unfinished_refunds


def test_refused_refund_of_a_late_payment_is_sent_by_an_admin(world: World) -> None:
    order, intent_id = charge_late(world, "pm_card_createDispute")
    follow_intent(world, order, intent_id)
    world.reconcile()
    assert kinds_of(world, order) == [(LATE, REFUSED)]
    world.win_dispute(order)

    follow_intent(world, order, intent_id)  # an event changes nothing: an admin decides
    answer = world.refund(order)

    assert isinstance(answer, RefundResult)
    assert kinds_of(world, order) == [(LATE, REFUSED), (STAFF, SUCCEEDED)]
    assert world.refunded_at_stripe(order) == order.total_amount


def test_two_late_payments_are_both_refunded(world: World) -> None:
    order, first = charge_late(world)
    follow_intent(world, order, first)
    second = charge_another_intent(world, order)
    follow_intent(world, order, second)

    world.reconcile()

    assert kinds_of(world, order) == [(LATE, SUCCEEDED)] * 2
    assert [refund.payment_intent_id for refund in world.read_order(order).refunds] == [first, second]
    world.check_settled()


# The stored form of version 0.1.0


@pytest.mark.parametrize("was_sent", [False, True], ids=["not sent", "sent a day ago"])
def test_refund_owed_by_the_previous_release_is_finished(world: World, *, was_sent: bool) -> None:
    order, intent_id = charge_late(world)
    owe_as_previous_release(world, order, intent_id)
    if was_sent:
        client = stripe.StripeClient("sk_test_previous", http_client=DummyStripeHTTPClient(world.store))
        client.v1.refunds.create(
            {"payment_intent": intent_id, "metadata": {"orderId": order.order_id}},
            {"idempotency_key": f"refund-{intent_id}"},
        )
        pass_seconds(world, IDEMPOTENCY_SECONDS + 1)
    assert kinds_of(world, order) == [(LATE, RefundStatus.OWED)]

    world.reconcile()

    (refund,) = world.read_order(order).refunds
    assert (refund.status, refund.payment_intent_id, refund.amount) == (SUCCEEDED, intent_id, order.total_amount)
    assert refund.stripe_refund_id == stripe_refund_of(world, order)
    world.check_settled()


def test_refund_sent_by_the_previous_release_is_read_as_succeeded(world: World) -> None:
    order, intent_id = charge_late(world)
    follow_intent(world, order, intent_id)
    since = rfc3339(utc_now())
    refund = {"paymentIntentId": intent_id, "owedSince": since, "refundId": stripe_refund_of(world, order)}
    update(world, order, "SET refund = :refund REMOVE refundsVersion", {":refund": refund})

    assert kinds_of(world, order) == [(LATE, SUCCEEDED)]
    world.check_settled()


def test_previous_release_that_records_a_refund_first_wins(world: World) -> None:
    order, intent_id = charge_late(world)

    def record_as_previous_release() -> None:
        since = rfc3339(utc_now())
        refund = {"paymentIntentId": intent_id, "owedSince": since, "refundId": stripe_refund_of(world, order)}
        update(world, order, "SET refund = :refund REMOVE unsettledShard, unsettledSince", {":refund": refund})

    run_before(world.orders, "record_refund", record_as_previous_release)

    follow_intent(world, order, intent_id)

    assert kinds_of(world, order) == [(LATE, SUCCEEDED)]
    world.check_settled()


def owe_as_previous_release(world: World, order: Order, intent_id: str) -> None:
    since = rfc3339(utc_now())
    update(
        world,
        order,
        "SET refund = :refund, unsettledShard = :shard, unsettledSince = :since",
        {
            ":refund": {"paymentIntentId": intent_id, "owedSince": since},
            ":shard": shard_of(order.order_id),
            ":since": since,
        },
    )


def update(world: World, order: Order, expression: str, values: dict[str, Any]) -> None:
    world.fault_free.update_item(
        TableName="OrdersTable",
        Key=order_key(order.order_id),
        UpdateExpression=expression,
        ExpressionAttributeValues=to_wire(values),
    )


def second_world(world: World) -> World:
    """Return another world on the same tables and the same Stripe, without its patches."""
    other = World(world.service, world.fault_free)
    other.store = other.wire.store = world.store
    other.wire.clock = world.wire.clock
    return other


def raise_busy(*_: object, **__: object) -> Order:
    raise Busy("The database does not respond.")


def raise_refunds_changed(world: World, order: Order) -> Callable[..., Order]:
    def refuse(*_: object, **__: object) -> Order:
        raise RefundsChanged(world.read_order(order))

    return refuse


def paid_order(world: World, card: str = "pm_card_visa") -> Order:
    order = world.place({"tea": 2})
    world.pay(order, card)
    return order


def charge_late(world: World, card: str = "pm_card_visa") -> tuple[Order, str]:
    """Charge an order after its payment was refused and an admin cancelled it. Return it and its intent."""
    order = world.place({"tea": 2})
    world.pay(order, "pm_unknown")
    world.override(order, OrderStatus.CANCELLED)
    (intent,) = (intent for intent in world.store.intents() if intent.metadata["orderId"] == order.order_id)
    client = stripe.StripeClient("sk_test_external", http_client=DummyStripeHTTPClient(world.store))
    client.v1.payment_intents.confirm(intent.id, {"payment_method": card})
    return order, intent.id


def charge_another_intent(world: World, order: Order) -> str:
    """Charge the order with a second intent, as two releases with different keys can. Return the intent's id."""
    client = stripe.StripeClient("sk_test_external", http_client=DummyStripeHTTPClient(world.store))
    return client.v1.payment_intents.create(
        {
            "amount": order.total_amount,
            "currency": order.currency,
            "metadata": {"orderId": order.order_id},
            "payment_method": "pm_card_visa",
            "confirm": True,
            "allowed_payment_method_types": ["card"],
        }
    ).id


def follow_intent(world: World, order: Order, intent_id: str) -> None:
    payments.follow_intent(
        order.order_id, intent_id, orders=world.orders, stripe=world.stripe, deadline=Deadline.after(28)
    )


def stripe_refund_of(world: World, order: Order) -> str:
    """Return the id of the order's first refund at Stripe."""
    return next(refund.id for charge in world.charges_at_stripe(order) for refund in charge.refunds)


def kinds_of(world: World, order: Order) -> list[tuple[RefundKind, RefundStatus]]:
    """Return kind and status of the order's recorded refunds."""
    return [(refund.kind, refund.status) for refund in world.read_order(order).refunds]


def pass_seconds(world: World, seconds: float) -> None:
    started = world.wire.clock
    world.wire.clock = lambda: started() + seconds
