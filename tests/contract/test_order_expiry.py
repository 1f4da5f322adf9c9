"""An order can be paid until it expires. A later payment cancels it, and charges and holds nothing."""

from datetime import timedelta

import pytest

from order_payments.runtime.clock import from_rfc3339, rfc3339, utc_now
from order_payments.runtime.settings import OrderSettings
from order_payments.storage.dynamodb import from_wire
from order_payments.storage.order_records import order_from_item
from tests.support.shop import ALICE, BOB, Shop, Stock

VALID_FOR = OrderSettings.from_environment({}).valid_for
MINUTE = timedelta(minutes=1)


def expire(shop: Shop, order: str) -> None:
    shop.write_order(order, expiresAt=rfc3339(utc_now()))


def test_placed_order_shows_when_it_expires(shop: Shop) -> None:
    items = [{"productId": shop.add_product(), "quantity": 1}]

    placed = shop.call("POST", "/orders", ALICE, {"items": items}).body

    assert placed["expiresAt"] == rfc3339(from_rfc3339(placed["createdAt"]) + VALID_FOR)
    assert shop.status(placed["orderId"])["expiresAt"] == placed["expiresAt"]
    assert shop.pay(placed["orderId"]).body["expiresAt"] == placed["expiresAt"]


def test_payment_of_an_expired_order_cancels_it_and_charges_nothing(shop: Shop) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    expire(shop, order)

    reply = shop.pay(order, "pm_card_visa")

    assert (reply.status, reply.code) == (409, "order_expired")
    assert reply.body["order"]["status"] == "cancelled"
    assert reply.body["order"]["paymentIntentId"] is None
    assert reply.body["order"]["reason"] == {
        "code": "order_expired",
        "declineCode": None,
        "message": "The order was not paid in time and has expired.",
    }
    assert reply.body["detail"] == reply.body["order"]["reason"]["message"]
    assert "retry-after" not in reply.headers
    assert shop.status(order) == reply.body["order"]
    assert shop.stock(product) == Stock(stock=5, reserved=0, available=5)


def test_expired_order_records_the_request_that_cancelled_it(shop: Shop) -> None:
    order = shop.order((shop.add_product(), 1))
    expire(shop, order)

    reply = shop.pay(order)

    item = shop.dynamodb.get_item(TableName=shop.orders_table, Key={"orderId": {"S": order}})["Item"]
    assert order_from_item(from_wire(item)).last_request_id == reply.body["requestId"]


@pytest.mark.parametrize(("first_key", "second_key"), [(None, None), ("a", "a"), ("a", "b")])
def test_repeated_payment_of_an_expired_order_gets_the_same_response(
    shop: Shop, first_key: str | None, second_key: str | None
) -> None:
    order = shop.order((shop.add_product(), 1))
    expire(shop, order)
    first = shop.pay(order, key=first_key)

    again = shop.pay(order, key=second_key)

    assert (again.status, again.code) == (409, "order_expired")
    assert again.body["order"] == first.body["order"] == shop.status(order)
    # As for too many attempts, no attempt is recorded, so there is nothing to replay.
    assert "idempotent-replayed" not in again.headers


@pytest.mark.parametrize("age", [VALID_FOR - MINUTE, VALID_FOR + MINUTE])
def test_order_of_an_earlier_release_expires_after_the_configured_time(shop: Shop, age: timedelta) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.write_order(order, createdAt=rfc3339(utc_now() - age), expiresAt=None)
    assert "expiresAt" not in shop.status(order)

    reply = shop.pay(order)

    assert (reply.status, reply.code) == ((200, None) if age < VALID_FOR else (409, "order_expired"))


@pytest.mark.parametrize("card", ["pm_card_visa", "pm_card_chargeDeclined"])
def test_payment_made_in_time_is_replayed_after_the_order_expires(shop: Shop, card: str) -> None:
    order = shop.order((shop.add_product(), 1))
    first = shop.pay(order, card, key="a")
    expire(shop, order)

    again = shop.pay(order, card, key="a")

    assert (again.status, again.code) == (first.status, first.code)
    assert again.headers["idempotent-replayed"] == "true"
    assert shop.pay(order, card).code == "payment_already_attempted"


def test_payment_in_flight_outlives_the_expiry_of_its_order(shop: Shop) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    shop.pay(order, "pm_dummy_timeout_after_charge", key="a")
    expire(shop, order)

    assert shop.pay(order).code == "payment_in_progress"
    assert shop.pay(order, "pm_dummy_timeout_after_charge", key="a").status == 202
    assert shop.status(order)["status"] == "pending"
    assert shop.stock(product) == Stock(stock=5, reserved=2, available=3)


def test_order_whose_attempt_was_voided_can_expire(shop: Shop) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    assert shop.pay(order, "pm_card_unknown").code == "invalid_payment_method"
    expire(shop, order)

    assert shop.pay(order, "pm_card_visa").code == "order_expired"
    assert shop.stock(product) == Stock(stock=5, reserved=0, available=5)


def test_expired_order_that_stripe_cannot_charge_is_cancelled(shop: Shop) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.write_order(order, totalAmount=10)
    expire(shop, order)

    assert shop.pay(order).code == "order_expired"


def test_other_buyer_cannot_cancel_an_expired_order(shop: Shop) -> None:
    order = shop.order((shop.add_product(), 1))
    expire(shop, order)

    assert shop.pay(order, user=BOB).code == "forbidden"
    assert shop.status(order)["status"] == "pending"


@pytest.mark.parametrize("status", ["confirmed", "cancelled"])
def test_admin_can_settle_an_expired_order_until_it_is_cancelled(shop: Shop, status: str) -> None:
    product = shop.add_product(stock=5)
    settled, cancelled = shop.order((product, 2)), shop.order((product, 2))
    for order in (settled, cancelled):
        expire(shop, order)
    shop.pay(cancelled)

    assert shop.override(settled, status).body["status"] == status
    assert shop.override(cancelled, status).code == "order_not_pending"
    assert shop.pay(settled).code == "payment_already_attempted"
    assert shop.stock(product).stock == (3 if status == "confirmed" else 5)


def test_order_repeated_after_its_expiry_is_returned_as_placed(shop: Shop) -> None:
    body = {"items": [{"productId": shop.add_product(), "quantity": 1}]}
    placed = shop.call("POST", "/orders", ALICE, body, headers={"Idempotency-Key": "expired-order"}).body
    shop.write_order(placed["orderId"], expiresAt=placed["createdAt"])
    shop.pay(placed["orderId"])

    again = shop.call("POST", "/orders", ALICE, body, headers={"Idempotency-Key": "expired-order"})

    assert (again.status, again.headers["idempotent-replayed"]) == (201, "true")
    assert again.body == {**placed, "expiresAt": placed["createdAt"]}
