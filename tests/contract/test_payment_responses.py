"""Each row of the contract's table of payment responses, with the order and the stock afterwards."""

import pytest

from order_payments.domain.orders import MAXIMUM_REFUSED_ATTEMPTS
from tests.support.shop import ADMIN, ALICE, BOB, SELLER, Shop, Stock, User

STATUS_FIELDS = {
    "orderId",
    "status",
    "totalAmount",
    "currency",
    "paymentMethod",
    "buyerId",
    "paymentIntentId",
    "reason",
    "createdAt",
    "updatedAt",
    "expiresAt",
}

UNKNOWN_OUTCOMES = [
    "pm_dummy_timeout_after_charge",
    "pm_dummy_timeout_before_charge",
    "pm_dummy_api_error",
    "pm_dummy_processing",
]


def test_paid_order_is_confirmed_and_its_stock_reduced(shop: Shop) -> None:
    product = shop.add_product(stock=5, unit_price=4599)
    order = shop.order((product, 2))

    reply = shop.pay(order, "pm_card_visa")

    assert reply.status == 200
    assert set(reply.body) == STATUS_FIELDS
    assert reply.body["orderId"] == order
    assert reply.body["status"] == "confirmed"
    assert (reply.body["totalAmount"], reply.body["currency"]) == (9198, "usd")
    assert reply.body["paymentMethod"] == "stripe-dummy"
    assert reply.body["paymentIntentId"].startswith("pi_")
    assert reply.body["reason"] is None
    assert shop.status(order) == reply.body
    assert shop.stock(product) == Stock(stock=3, reserved=0, available=3)


def test_declined_card_cancels_order_with_stripes_reason(shop: Shop) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))

    reply = shop.pay(order, "pm_card_visa_chargeDeclinedInsufficientFunds")

    assert (reply.status, reply.code) == (402, "payment_failed")
    assert reply.body["order"]["status"] == "cancelled"
    assert reply.body["order"]["reason"] == {
        "code": "card_declined",
        "declineCode": "insufficient_funds",
        "message": "Your card has insufficient funds.",
    }
    assert shop.status(order) == reply.body["order"]
    assert shop.stock(product) == Stock(stock=5, reserved=0, available=5)


def test_card_that_requires_authentication_cancels_order(shop: Shop) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))

    reply = shop.pay(order, "pm_card_authenticationRequired")

    assert (reply.status, reply.code) == (402, "payment_failed")
    assert reply.body["order"]["reason"]["code"] == "authentication_required"
    assert shop.status(order)["status"] == "cancelled"
    assert shop.stock(product) == Stock(stock=5, reserved=0, available=5)


def test_insufficient_stock_cancels_order_and_names_each_short_product(shop: Shop) -> None:
    plenty, short, empty = shop.add_product(stock=5), shop.add_product(stock=2), shop.add_product(stock=0)
    order = shop.order((plenty, 1), (short, 3), (empty, 1))

    reply = shop.pay(order)

    assert (reply.status, reply.code) == (422, "insufficient_stock")
    assert [error["location"][-1] for error in reply.body["errors"]] == [short, empty]
    assert reply.body["order"]["status"] == "cancelled"
    assert reply.body["order"]["reason"]["code"] == "insufficient_stock"
    assert shop.status(order) == reply.body["order"]
    assert [shop.stock(product) for product in (plenty, short, empty)] == [(5, 0, 5), (2, 0, 2), (0, 0, 0)]


@pytest.mark.parametrize("card", UNKNOWN_OUTCOMES)
def test_unknown_outcome_leaves_order_pending_and_its_stock_held(shop: Shop, card: str) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))

    reply = shop.pay(order, card)

    assert reply.status == 202
    assert int(reply.headers["retry-after"]) > 0
    assert reply.headers["location"].endswith(f"/orders/{order}/status")
    assert reply.body["status"] == "pending"
    assert reply.body["paymentIntentId"].startswith("pi_")
    assert shop.status(order) == reply.body
    assert shop.stock(product) == Stock(stock=5, reserved=2, available=3)


@pytest.mark.parametrize("card", ["pm_card_unknown", "card_visa", "ünïcode", "pm_card_visa&confirm=true"])
def test_order_can_be_paid_after_an_invalid_payment_method(shop: Shop, card: str) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))

    reply = shop.pay(order, card)

    assert (reply.status, reply.code) == (422, "invalid_payment_method")
    assert reply.body["order"]["status"] == "pending"
    assert shop.status(order) == reply.body["order"]
    assert shop.stock(product) == Stock(stock=5, reserved=0, available=5)
    assert shop.pay(order, "pm_card_visa").status == 200
    assert shop.stock(product) == Stock(stock=3, reserved=0, available=3)


def test_order_can_be_paid_after_stripes_rate_limit(shop: Shop) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))

    reply = shop.pay(order, "pm_dummy_rate_limited")

    assert (reply.status, reply.code) == (503, "busy")
    assert int(reply.headers["retry-after"]) > 0
    assert reply.body["order"]["status"] == "pending"
    assert shop.stock(product) == Stock(stock=5, reserved=0, available=5)
    # A rate limit does not count as a refused attempt.
    stored = shop.dynamodb.get_item(TableName=shop.orders_table, Key={"orderId": {"S": order}})["Item"]
    assert "refusedAttempts" not in stored
    assert shop.pay(order, "pm_card_visa").status == 200


def test_order_is_cancelled_after_too_many_refused_attempts(shop: Shop) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    refused = [shop.pay(order, "pm_card_unknown") for _ in range(MAXIMUM_REFUSED_ATTEMPTS)]
    assert {reply.code for reply in refused} == {"invalid_payment_method"}
    assert shop.status(order)["status"] == "pending"

    reply = shop.pay(order, "pm_card_visa")

    assert (reply.status, reply.code) == (409, "too_many_attempts")
    assert reply.body["order"]["status"] == "cancelled"
    assert reply.body["order"]["reason"]["code"] == "too_many_attempts"
    assert shop.status(order) == reply.body["order"]
    assert shop.stock(product) == Stock(stock=5, reserved=0, available=5)
    assert shop.pay(order, "pm_card_visa").code == "too_many_attempts"


@pytest.mark.parametrize("first_card", ["pm_card_visa", "pm_card_visa_chargeDeclined"])
def test_settled_order_cannot_be_paid_again(shop: Shop, first_card: str) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    shop.pay(order, first_card)
    status, stock = shop.status(order), shop.stock(product)

    reply = shop.pay(order)

    assert (reply.status, reply.code) == (409, "payment_already_attempted")
    assert reply.body["order"] == status == shop.status(order)
    assert shop.stock(product) == stock


def test_order_with_a_payment_in_flight_cannot_be_paid(shop: Shop) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    shop.pay(order, "pm_dummy_timeout_after_charge")
    status, stock = shop.status(order), shop.stock(product)

    reply = shop.pay(order)

    assert (reply.status, reply.code) == (409, "payment_in_progress")
    assert reply.body["order"] == status == shop.status(order)
    assert shop.stock(product) == stock


@pytest.mark.every_case_over_http
@pytest.mark.parametrize(
    "order_id",
    ["ord_00000000000000000000000000000000", "ord_", "1", "ORD_00000000000000000000000000000000", "a'b", "x" * 3000],
)
def test_unknown_or_malformed_order_id_is_not_found(shop: Shop, order_id: str) -> None:
    for reply in (shop.pay(order_id), shop.call("GET", f"/orders/{order_id}/status", ALICE)):
        assert (reply.status, reply.code) == (404, "order_not_found")


@pytest.mark.parametrize("user", [BOB, SELLER, ADMIN, User(ALICE.sub, ("seller", "admin")), User("no-role", ())])
def test_only_its_buyer_can_pay_an_order(shop: Shop, user: User) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2), user=ALICE)
    before = shop.status(order)

    reply = shop.pay(order, user=user)

    assert (reply.status, reply.code) == (403, "forbidden")
    assert "order" not in reply.body
    assert shop.status(order) == before
    assert shop.stock(product) == Stock(stock=5, reserved=0, available=5)


def test_two_lines_of_one_product_are_added_up(shop: Shop) -> None:
    product = shop.add_product(stock=5, unit_price=100)
    order = shop.order((product, 2), (product, 3))

    reply = shop.pay(order)

    assert (reply.status, reply.body["totalAmount"]) == (200, 500)
    assert shop.stock(product) == Stock(stock=0, reserved=0, available=0)


def test_lines_of_one_product_that_exceed_its_stock_together_are_refused(shop: Shop) -> None:
    product = shop.add_product(stock=4)

    reply = shop.pay(shop.order((product, 2), (product, 3)))

    assert (reply.status, reply.code) == (422, "insufficient_stock")
    assert shop.stock(product) == Stock(stock=4, reserved=0, available=4)


def test_price_change_after_the_order_does_not_change_the_charge(shop: Shop) -> None:
    product = shop.add_product(stock=5, unit_price=1000)
    order = shop.order((product, 2))
    shop.add_product(product_id=product, stock=5, unit_price=9999)

    reply = shop.pay(order)

    assert (reply.status, reply.body["totalAmount"]) == (200, 2000)


def test_units_held_by_another_payment_are_busy_and_order_stays_pending(shop: Shop) -> None:
    product = shop.add_product(stock=3)
    shop.pay(shop.order((product, 2)), "pm_dummy_timeout_before_charge")
    order = shop.order((product, 2))

    reply = shop.pay(order)

    assert (reply.status, reply.code) == (503, "busy")
    assert int(reply.headers["retry-after"]) > 0
    assert reply.body["order"]["status"] == "pending"
    assert shop.status(order) == reply.body["order"]
    assert shop.stock(product) == Stock(stock=3, reserved=2, available=1)


def test_order_above_the_stock_is_cancelled_even_if_units_are_held(shop: Shop) -> None:
    product = shop.add_product(stock=3)
    shop.pay(shop.order((product, 2)), "pm_dummy_timeout_before_charge")

    reply = shop.pay(shop.order((product, 4)))

    assert (reply.status, reply.code) == (422, "insufficient_stock")
    assert reply.body["order"]["status"] == "cancelled"


def test_override_is_busy_while_other_payments_hold_the_units(shop: Shop) -> None:
    product = shop.add_product(stock=3)
    shop.pay(shop.order((product, 2)), "pm_dummy_timeout_before_charge")
    order = shop.order((product, 2))

    reply = shop.override(order, "confirmed")

    assert (reply.status, reply.code) == (503, "busy")
    assert shop.status(order)["status"] == "pending"


def test_deleted_product_is_out_of_stock_and_not_created_again(shop: Shop) -> None:
    deleted, kept = shop.add_product(stock=5), shop.add_product(stock=5)
    order = shop.order((deleted, 1), (kept, 1))
    shop.remove_product(deleted)

    reply = shop.pay(order)

    assert (reply.status, reply.code) == (422, "insufficient_stock")
    assert [error["location"][-1] for error in reply.body["errors"]] == [deleted]
    assert shop.status(order)["status"] == "cancelled"
    assert shop.call("GET", f"/products/{deleted}", ALICE).code == "product_not_found"
    assert shop.stock(kept) == Stock(stock=5, reserved=0, available=5)


@pytest.mark.parametrize(
    ("card", "stock"), [("pm_card_visa", Stock(2, 0, 2)), ("pm_card_chargeDeclined", Stock(5, 0, 5))]
)
def test_stock_written_by_another_service_is_all_available(shop: Shop, card: str, stock: Stock) -> None:
    product = shop.add_product()
    shop.write_product(product, name="Green tea", unitPrice=4599, currency="usd", stock=5)
    assert shop.stock(product) == Stock(stock=5, reserved=0, available=5)

    shop.pay(shop.order((product, 3)), card)

    assert shop.stock(product) == stock


@pytest.mark.parametrize(("total", "currency"), [(10, "usd"), (100_000_000, "usd"), (5124, "kwd"), (4599, "bgn")])
def test_amount_that_stripe_cannot_charge_leaves_order_unchanged(shop: Shop, total: int, currency: str) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 1))
    shop.write_order(order, totalAmount=total, currency=currency)
    before = shop.status(order)

    reply = shop.pay(order)

    assert (reply.status, reply.code) == (422, "amount_not_chargeable")
    assert reply.body["order"] == before == shop.status(order)
    assert shop.stock(product) == Stock(stock=5, reserved=0, available=5)
