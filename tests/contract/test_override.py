"""`PUT /admin/orders/{orderId}/status`: an admin settles an order by hand."""

import pytest

from tests.support.shop import ADMIN, ALICE, Shop, Stock


def test_admin_confirms_order_and_its_stock_is_reduced(shop: Shop) -> None:
    product = shop.add_product(stock=10)
    order = shop.order((product, 3))

    reply = shop.override(order, "confirmed", reason="Paid by bank transfer.")

    assert reply.status == 200
    assert (reply.body["orderId"], reply.body["status"]) == (order, "confirmed")
    assert reply.body["reason"] == {
        "code": "admin_override",
        "declineCode": None,
        "message": "Paid by bank transfer.",
    }
    assert reply.body == shop.status(order)
    assert shop.stock(product) == Stock(stock=7, reserved=0, available=7)


def test_admin_cancels_order_and_its_stock_is_unchanged(shop: Shop) -> None:
    product = shop.add_product(stock=10)
    order = shop.order((product, 3))

    reply = shop.override(order, "cancelled", reason="The buyer called.")

    assert (reply.status, reply.body["status"]) == (200, "cancelled")
    assert reply.body["reason"]["message"] == "The buyer called."
    assert shop.stock(product) == Stock(stock=10, reserved=0, available=10)


@pytest.mark.parametrize("status", ["confirmed", "cancelled"])
def test_override_records_the_admin_the_time_and_the_reason(shop: Shop, status: str) -> None:
    order = shop.order((shop.add_product(), 1))

    reply = shop.override(order, status, reason="As agreed.")

    item = shop.dynamodb.get_item(TableName=shop.orders_table, Key={"orderId": {"S": order}})["Item"]
    override = {name: value["S"] for name, value in item["override"]["M"].items()}
    assert override.pop("requestId")
    assert override == {"by": ADMIN.sub, "at": reply.body["updatedAt"], "reason": "As agreed."}


@pytest.mark.parametrize("status", ["confirmed", "cancelled"])
def test_overridden_order_cannot_be_paid(shop: Shop, status: str) -> None:
    order = shop.order((shop.add_product(stock=5), 2))
    settled = shop.override(order, status).body

    reply = shop.pay(order)

    assert (reply.status, reply.code) == (409, "payment_already_attempted")
    assert reply.body["order"] == shop.status(order) == settled


@pytest.mark.parametrize("again", ["confirmed", "cancelled"])
@pytest.mark.parametrize("first", ["confirmed", "cancelled"])
def test_overridden_order_cannot_be_overridden_again(shop: Shop, first: str, again: str) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    settled = shop.override(order, first).body
    before = shop.stock(product)

    reply = shop.override(order, again)

    assert (reply.status, reply.code) == (409, "order_not_pending")
    assert reply.body["order"] == shop.status(order) == settled
    assert shop.stock(product) == before


@pytest.mark.parametrize("status", ["confirmed", "cancelled"])
@pytest.mark.parametrize(("card", "end"), [("pm_card_visa", "confirmed"), ("pm_card_chargeDeclined", "cancelled")])
def test_paid_or_declined_order_cannot_be_overridden(shop: Shop, card: str, end: str, status: str) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    shop.pay(order, card)
    before = shop.stock(product)

    reply = shop.override(order, status)

    assert (reply.status, reply.code) == (409, "order_not_pending")
    assert shop.status(order)["status"] == end
    assert shop.stock(product) == before


@pytest.mark.parametrize("status", ["confirmed", "cancelled"])
def test_order_with_a_payment_in_flight_cannot_be_overridden(shop: Shop, status: str) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    assert shop.pay(order, "pm_dummy_timeout_after_charge").status == 202

    reply = shop.override(order, status)

    assert (reply.status, reply.code) == (409, "payment_in_progress")
    assert reply.body["order"]["status"] == shop.status(order)["status"] == "pending"
    assert shop.stock(product) == Stock(stock=5, reserved=2, available=3)


def test_confirming_without_enough_stock_leaves_the_order_pending(shop: Shop) -> None:
    tea, mug = shop.add_product(stock=1), shop.add_product(stock=5)
    order = shop.order((tea, 2), (mug, 1))

    reply = shop.override(order, "confirmed")

    assert (reply.status, reply.code) == (422, "insufficient_stock")
    assert [error["location"] for error in reply.body["errors"]] == [["products", tea]]
    assert shop.status(order)["status"] == "pending"
    assert shop.stock(tea) == Stock(stock=1, reserved=0, available=1)
    assert shop.stock(mug) == Stock(stock=5, reserved=0, available=5)


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("order", ["ord_00000000000000000000000000000000", "nonsense", "ord_%00", "%20"])
def test_unknown_order_cannot_be_overridden(shop: Shop, order: str) -> None:
    reply = shop.override(order, "cancelled")

    assert (reply.status, reply.code) == (404, "order_not_found")


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        [],
        {"status": "confirmed"},
        {"reason": "As agreed."},
        {"status": "pending", "reason": "As agreed."},
        {"status": "CONFIRMED", "reason": "As agreed."},
        {"status": None, "reason": "As agreed."},
        {"status": ["confirmed"], "reason": "As agreed."},
        {"status": "confirmed", "reason": ""},
        {"status": "confirmed", "reason": "   "},
        {"status": "confirmed", "reason": "two\nlines"},
        {"status": "confirmed", "reason": "two\u2028lines"},
        {"status": "confirmed", "reason": "two\u0085lines"},
        {"status": "confirmed", "reason": "\u200b\u00a0\u3000"},
        {"status": "confirmed", "reason": "backwards\u202e"},
        {"status": "confirmed", "reason": "a\u0000b"},
        {"status": "confirmed", "reason": "x" * 501},
        {"status": "confirmed", "reason": 7},
        {"status": "confirmed", "reason": "As agreed.", "notify": True},
    ],
    ids=str,
)
def test_override_without_a_valid_status_and_reason_is_refused(shop: Shop, body: object) -> None:
    order = shop.order((shop.add_product(), 1))

    reply = shop.call("PUT", f"/admin/orders/{order}/status", ADMIN, body)

    assert (reply.status, reply.code) == (422, "validation_error")
    assert shop.status(order)["status"] == "pending"


def test_unknown_status_is_refused_with_the_allowed_values(shop: Shop) -> None:
    order = shop.order((shop.add_product(), 1))

    reply = shop.override(order, "shipped")

    (error,) = reply.body["errors"]
    assert error == {"location": ["body", "status"], "message": "Input should be 'confirmed' or 'cancelled'"}


def test_longest_reason_is_stored_in_full(shop: Shop) -> None:
    order = shop.order((shop.add_product(), 1))

    shop.override(order, "cancelled", reason="é" * 500)

    assert shop.status(order)["reason"]["message"] == "é" * 500


def test_units_of_an_order_confirmed_by_an_admin_are_not_sold_again(shop: Shop) -> None:
    product = shop.add_product(stock=2)
    order = shop.order((product, 2))
    shop.override(order, "confirmed")

    late = shop.pay(shop.order((product, 1)))

    assert (late.status, late.code) == (422, "insufficient_stock")
    assert shop.status(order, ALICE)["status"] == "confirmed"
