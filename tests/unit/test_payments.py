"""Payments in situations that a client cannot cause over HTTP."""

import boto3
import pytest
import stripe
from mypy_boto3_dynamodb import DynamoDBClient

from order_payments import payments
from order_payments.domain.errors import (
    AmountNotChargeable,
    OrderExpired,
    PaymentFailed,
    PaymentInProgress,
    PaymentProviderError,
    TooManyAttempts,
)
from order_payments.domain.orders import MAXIMUM_REFUSED_ATTEMPTS, Order, OrderLine, OrderStatus
from order_payments.runtime.clock import Deadline, utc_now
from tests.support.fault_injection import Effect, fail_each, inject_faults, stripe_connection_error, stripe_response
from tests.support.world import VALID_FOR, World

AMOUNT_TOO_SMALL = (
    '{"error":{"type":"invalid_request_error","code":"amount_too_small","param":"amount","message":"no"}}'
)
WRONG_KEY = '{"error":{"type":"invalid_request_error","message":"no"}}'


@pytest.fixture
def world(dynamodb: DynamoDBClient) -> World:
    world = World.fresh(boto3.client("dynamodb"), dynamodb)
    world.add_product("tea", 5)
    return world


def test_amount_that_stripe_refuses_counts_as_a_refused_attempt(world: World) -> None:
    order = world.place({"tea": 2})

    with inject_faults(world, fail_each("create", stripe_response(Effect.NONE, 400, AMOUNT_TOO_SMALL))) as injection:
        responses = [type(world.pay(order)) for _ in range(MAXIMUM_REFUSED_ATTEMPTS + 1)]

    assert responses == [AmountNotChargeable] * MAXIMUM_REFUSED_ATTEMPTS + [TooManyAttempts]
    assert injection.names.count("create") == MAXIMUM_REFUSED_ATTEMPTS
    world.check_settled()


def test_amount_that_no_currency_rule_allows_never_reaches_stripe(world: World) -> None:
    order = Order.place("alice", [OrderLine("tea", "Tea", 1, 10)], "usd", utc_now())
    world.orders.create(order)

    with inject_faults(world) as injection:
        response = world.pay(order)

    assert isinstance(response, AmountNotChargeable)
    assert injection.names == ("read",)
    assert world.read_order(order) == order


def test_payment_of_an_expired_order_never_reaches_stripe(world: World) -> None:
    order = world.place({"tea": 2}, at=utc_now() - VALID_FOR)

    with inject_faults(world) as injection:
        response = world.pay(order)

    assert isinstance(response, OrderExpired)
    assert injection.names == ("read", "cancel unclaimed")
    world.check_settled()


@pytest.mark.parametrize(
    ("card", "status"),
    [
        ("pm_dummy_timeout_after_charge", OrderStatus.CONFIRMED),
        ("pm_dummy_timeout_before_charge", OrderStatus.CANCELLED),
    ],
)
def test_payment_in_flight_is_settled_by_its_outcome_after_expiry(
    world: World, monkeypatch: pytest.MonkeyPatch, card: str, status: OrderStatus
) -> None:
    order = world.place({"tea": 2})
    world.pay(order, card)
    monkeypatch.setattr(payments, "utc_now", lambda: order.created_at + VALID_FOR)
    assert isinstance(world.pay(order), PaymentInProgress)

    world.reconcile()

    recorded = world.read_order(order)
    assert recorded.status is status
    assert recorded.reason == (payments.ABANDONED if status is OrderStatus.CANCELLED else None)
    world.check_settled()


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_late_charge_is_refunded_only_if_expiry_cancelled_its_order(
    world: World, monkeypatch: pytest.MonkeyPatch, is_cancelled: bool
) -> None:
    order = world.place({"tea": 2})
    world.pay(order, "pm_unknown")
    (intent,) = world.store.intents()
    monkeypatch.setattr(payments, "utc_now", lambda: order.created_at + VALID_FOR)
    if is_cancelled:
        assert isinstance(world.pay(order), OrderExpired)
    client = stripe.StripeClient("sk_test_external", http_client=world.wire)
    client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})

    follow(world, order, intent.id)

    recorded = world.read_order(order)
    if is_cancelled:
        assert (recorded.reason, len(recorded.refunds)) == (payments.ORDER_EXPIRED, 1)
    else:
        assert (recorded.status, recorded.refunds) == (OrderStatus.CONFIRMED, ())
    world.check_settled()


def test_wrong_api_key_does_not_count_as_refused_attempts(world: World) -> None:
    order = world.place({"tea": 2})

    with inject_faults(world, fail_each("confirm", stripe_response(Effect.NONE, 401, WRONG_KEY))):
        responses = {type(world.pay(order)) for _ in range(MAXIMUM_REFUSED_ATTEMPTS + 1)}

    assert responses == {PaymentProviderError}
    assert world.read_order(order).is_payable


def test_decline_keeps_its_reason_if_canceling_the_intent_fails(world: World) -> None:
    order = world.place({"tea": 2})

    with inject_faults(world, fail_each("cancel", stripe_connection_error(Effect.NONE))):
        world.pay(order, "pm_card_visa_chargeDeclinedLostCard")
    world.reconcile()

    reason = world.read_order(order).reason
    assert reason is not None
    assert (reason.code, reason.decline_code) == ("card_declined", "lost_card")
    world.check_settled()


@pytest.mark.parametrize("settled_by", ["reconciler", "webhook", "payer"])
def test_order_whose_charge_was_refunded_in_flight_is_cancelled(world: World, settled_by: str) -> None:
    order = world.place({"tea": 2})
    world.pay(order, "pm_dummy_timeout_after_charge", key="k")
    (intent,) = world.store.intents()
    refund_in_dashboard(world, intent.id)

    match settled_by:
        case "reconciler":
            world.reconcile()
        case "webhook":
            follow(world, order, intent.id)
        case "payer":
            recorded = world.read_order(order)
            world.orders.void(recorded, was_refused=False, now=utc_now(), deadline=Deadline.after(5))
            assert isinstance(world.pay(order), PaymentFailed)

    recorded = world.read_order(order)
    assert (recorded.status, recorded.reason) == (OrderStatus.CANCELLED, payments.REFUNDED)
    assert world.stock("tea") == (5, 5)


def test_partly_refunded_charge_still_confirms_its_order(world: World) -> None:
    order = world.place({"tea": 2})
    world.pay(order, "pm_dummy_timeout_after_charge")
    (intent,) = world.store.intents()
    refund_in_dashboard(world, intent.id, amount=1)

    world.reconcile()

    assert world.read_order(order).status is OrderStatus.CONFIRMED


def refund_in_dashboard(world: World, intent_id: str, amount: int | None = None) -> None:
    client = stripe.StripeClient("sk_test_dashboard", http_client=world.wire)
    client.v1.refunds.create({"payment_intent": intent_id, **({} if amount is None else {"amount": amount})})


def follow(world: World, order: Order, intent_id: str) -> Order:
    return payments.follow_intent(
        order.order_id, intent_id, orders=world.orders, stripe=world.stripe, deadline=Deadline.after(28)
    )
