"""Payments in situations that a client cannot cause over HTTP."""

import boto3
import pytest
import stripe
from mypy_boto3_dynamodb import DynamoDBClient

from order_payments import payments
from order_payments.domain.errors import AmountNotChargeable, PaymentFailed, PaymentProviderError, TooManyAttempts
from order_payments.domain.orders import MAXIMUM_REFUSED_ATTEMPTS, Order, OrderLine, OrderStatus
from order_payments.runtime.clock import Deadline, utc_now
from tests.support.fault_injection import Effect, fail_each, inject_faults, stripe_connection_error, stripe_response
from tests.support.world import World

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
