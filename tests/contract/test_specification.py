"""The tests that the specification lists, under its names."""

from tests.support.shop import ALICE, BOB, Shop, Stock


def test_a_buyer_creates_an_order_and_it_is_pending(shop: Shop) -> None:
    product = shop.add_product(stock=5)

    order = shop.order((product, 2))

    assert shop.status(order)["status"] == "pending"
    assert shop.stock(product) == Stock(stock=5, reserved=0, available=5)


def test_a_buyer_pays_and_the_order_is_confirmed(shop: Shop) -> None:
    order = shop.order((shop.add_product(), 1))

    reply = shop.pay(order)

    assert (reply.status, reply.body["status"]) == (200, "confirmed")
    assert shop.status(order) == reply.body


def test_a_buyer_pays_with_insufficient_stock_and_the_order_is_cancelled(shop: Shop) -> None:
    product = shop.add_product(stock=1)
    order = shop.order((product, 2))

    reply = shop.pay(order)

    assert (reply.status, reply.code) == (422, "insufficient_stock")
    assert shop.status(order)["status"] == "cancelled"
    assert shop.stock(product) == Stock(stock=1, reserved=0, available=1)


def test_a_buyer_cannot_pay_another_buyers_order(shop: Shop) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 1), user=ALICE)
    before = shop.status(order)

    reply = shop.pay(order, user=BOB)

    assert (reply.status, reply.code) == (403, "forbidden")
    assert shop.status(order) == before
    assert shop.stock(product) == Stock(stock=5, reserved=0, available=5)


def test_product_stock_is_right_after_a_successful_payment(shop: Shop) -> None:
    product = shop.add_product(stock=5)

    shop.pay(shop.order((product, 2)))

    assert shop.stock(product) == Stock(stock=3, reserved=0, available=3)


def test_an_order_status_cannot_skip_stages(shop: Shop) -> None:
    product = shop.add_product(stock=5)
    confirmed, cancelled = shop.order((product, 1)), shop.order((product, 1))
    shop.pay(confirmed)
    shop.pay(cancelled, "pm_card_visa_chargeDeclined")

    replies = [
        shop.pay(confirmed, "pm_card_visa_chargeDeclined"),
        shop.pay(confirmed),
        shop.pay(cancelled),
        shop.pay(cancelled, "pm_card_visa_chargeDeclined"),
    ]

    assert [(reply.status, reply.code) for reply in replies] == [(409, "payment_already_attempted")] * 4
    assert shop.status(confirmed)["status"] == "confirmed"
    assert shop.status(cancelled)["status"] == "cancelled"
    assert shop.stock(product) == Stock(stock=4, reserved=0, available=4)
