"""A request repeated with the same `Idempotency-Key` runs once and returns the first response."""

from typing import Any

import pytest

from tests.support.shop import ALICE, BOB, Reply, Shop, Stock, User


def place(shop: Shop, product: str, quantity: int, key: str, user: User = ALICE) -> Reply:
    body = {"items": [{"productId": product, "quantity": quantity}]}
    return shop.call("POST", "/orders", user, body, headers={"Idempotency-Key": key})


def without_replay_header(reply: Reply) -> tuple[int, Any, str]:
    return reply.status, reply.body, reply.headers["location"]


def test_repeated_order_is_placed_once(shop: Shop) -> None:
    product = shop.add_product()
    first = place(shop, product, 2, "a")

    again = place(shop, product, 2, "a")

    assert without_replay_header(again) == without_replay_header(first)
    assert first.status == 201
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers


def test_repeated_order_returns_the_first_response_after_payment(shop: Shop) -> None:
    product = shop.add_product()
    first = place(shop, product, 2, "b")
    shop.pay(first.body["orderId"])

    again = place(shop, product, 2, "b")

    assert without_replay_header(again) == without_replay_header(first)
    assert shop.status(first.body["orderId"])["status"] == "confirmed"


def test_repeated_order_keeps_its_price_after_a_price_change(shop: Shop) -> None:
    product = shop.add_product(unit_price=1000)
    first = place(shop, product, 2, "c")
    shop.add_product(product_id=product, unit_price=2000)

    assert without_replay_header(place(shop, product, 2, "c")) == without_replay_header(first)


def test_repeated_order_is_replayed_after_its_product_was_deleted(shop: Shop) -> None:
    product = shop.add_product()
    first = place(shop, product, 2, "d")
    shop.remove_product(product)

    assert without_replay_header(place(shop, product, 2, "d")) == without_replay_header(first)


def test_key_reused_for_another_order_is_refused(shop: Shop) -> None:
    product = shop.add_product()
    place(shop, product, 2, "e")

    reply = place(shop, product, 3, "e")

    assert (reply.status, reply.code) == (409, "idempotency_key_reused")


def test_idempotency_keys_are_separate_for_each_buyer(shop: Shop) -> None:
    product = shop.add_product()
    first, other = place(shop, product, 2, "f", ALICE), place(shop, product, 2, "f", BOB)

    assert other.status == 201
    assert "idempotent-replayed" not in other.headers
    assert other.body["orderId"] != first.body["orderId"]


def test_repeated_order_without_a_key_is_a_new_order(shop: Shop) -> None:
    product = shop.add_product()

    assert shop.order((product, 1)) != shop.order((product, 1))


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("key", ["", "x" * 256])
def test_empty_or_too_long_key_is_refused(shop: Shop, key: str) -> None:
    reply = place(shop, shop.add_product(), 1, key)

    assert (reply.status, reply.code) == (422, "validation_error")


@pytest.mark.parametrize("card", ["pm_card_visa", "pm_card_chargeDeclined", "pm_card_authenticationRequired"])
def test_repeated_payment_runs_once_and_returns_the_first_response(shop: Shop, card: str) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    first = shop.pay(order, card, key="g")
    stock = shop.stock(product)

    again = shop.pay(order, card, key="g")

    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert shop.stock(product) == stock


def test_insufficient_stock_is_replayed_after_restocking(shop: Shop) -> None:
    product = shop.add_product(stock=1)
    order = shop.order((product, 2))
    first = shop.pay(order, key="h")
    shop.add_product(product_id=product, stock=9)

    again = shop.pay(order, key="h")

    assert (first.status, first.code) == (422, "insufficient_stock")
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["idempotent-replayed"] == "true"


def test_repeated_payment_in_flight_is_accepted_again(shop: Shop) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 2))
    first = shop.pay(order, "pm_dummy_timeout_after_charge", key="i")

    again = shop.pay(order, "pm_dummy_timeout_after_charge", key="i")

    assert (again.status, again.body) == (first.status, first.body)
    assert again.status == 202
    assert int(again.headers["retry-after"]) > 0
    assert again.headers["location"].endswith(f"/orders/{order}/status")
    assert shop.stock(product) == Stock(stock=5, reserved=2, available=3)


@pytest.mark.parametrize(
    ("card", "key"),
    [("pm_dummy_timeout_after_charge", "n2"), ("pm_dummy_timeout_after_charge", None), ("pm_card_visa", "n")],
)
def test_other_payment_of_an_order_in_flight_is_refused(shop: Shop, card: str, key: str | None) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order, "pm_dummy_timeout_after_charge", key="n")

    reply = shop.pay(order, card, key=key)

    assert (reply.status, reply.code) == (409, "payment_in_progress")


@pytest.mark.parametrize(("card", "key"), [("pm_card_visa", "k"), ("pm_card_visa", None), ("pm_card_amex", "j")])
def test_other_payment_of_a_settled_order_is_refused(shop: Shop, card: str, key: str | None) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order, "pm_card_visa", key="j")

    reply = shop.pay(order, card, key=key)

    assert (reply.status, reply.code) == (409, "payment_already_attempted")
    assert "idempotent-replayed" not in reply.headers


def test_payment_with_an_invalid_payment_method_is_not_recorded(shop: Shop) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order, "pm_unknown", key="l")

    reply = shop.pay(order, "pm_card_visa", key="l")

    assert (reply.status, reply.body["status"]) == (200, "confirmed")


def test_key_gives_no_access_to_another_buyers_order(shop: Shop) -> None:
    order = shop.order((shop.add_product(), 1))
    shop.pay(order, key="m")

    assert shop.pay(order, key="m", user=BOB).code == "forbidden"
