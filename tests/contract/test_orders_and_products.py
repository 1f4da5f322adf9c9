"""Placing and reading orders, and creating and reading products."""

import re

import pytest

from tests.support.shop import ADMIN, ALICE, BOB, SELLER, Shop, Stock, User

RFC_3339_MILLISECONDS = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def test_order_has_its_lines_at_the_products_prices(shop: Shop) -> None:
    tea, cup = shop.add_product(unit_price=450), shop.add_product(unit_price=1299)
    items = [{"productId": tea, "quantity": 3}, {"productId": cup, "quantity": 1}]

    reply = shop.call("POST", "/orders", ALICE, {"items": items})

    assert reply.status == 201
    assert reply.body["items"] == [
        {"productId": tea, "name": "Green tea", "quantity": 3, "unitPrice": 450},
        {"productId": cup, "name": "Green tea", "quantity": 1, "unitPrice": 1299},
    ]
    assert (reply.body["totalAmount"], reply.body["currency"]) == (2649, "usd")
    assert (reply.body["buyerId"], reply.body["paymentMethod"]) == (ALICE.sub, "stripe-dummy")
    assert reply.body["paymentIntentId"] is None
    assert reply.body["reason"] is None
    assert re.fullmatch(RFC_3339_MILLISECONDS, reply.body["createdAt"])
    assert reply.body["updatedAt"] == reply.body["createdAt"]


def test_new_order_has_the_location_of_its_status(shop: Shop) -> None:
    items = [{"productId": shop.add_product(), "quantity": 1}]

    reply = shop.call("POST", "/orders", ALICE, {"items": items})

    assert reply.headers["location"] == f"/v1/orders/{reply.body['orderId']}/status"


def test_order_above_the_stock_is_still_placed(shop: Shop) -> None:
    product = shop.add_product(stock=0)

    order = shop.order((product, 3))

    assert shop.status(order)["status"] == "pending"
    assert shop.stock(product) == Stock(stock=0, reserved=0, available=0)


@pytest.mark.parametrize("user", [ALICE, ADMIN, User(BOB.sub, ("buyer", "admin"))])
def test_orders_buyer_and_admins_read_its_status(shop: Shop, user: User) -> None:
    order = shop.order((shop.add_product(), 1), user=ALICE)

    assert shop.status(order, user)["orderId"] == order


@pytest.mark.parametrize("user", [BOB, SELLER, User("no-role", ()), User(ALICE.sub, ("seller",))])
def test_any_other_user_is_refused_an_orders_status(shop: Shop, user: User) -> None:
    order = shop.order((shop.add_product(), 1), user=ALICE)

    reply = shop.call("GET", f"/orders/{order}/status", user)

    assert (reply.status, reply.code) == (403, "forbidden")


@pytest.mark.parametrize("user", [ALICE, SELLER, ADMIN, User("no-role", ())], ids=lambda user: user.sub)
def test_every_signed_in_user_reads_products(shop: Shop, user: User) -> None:
    product = shop.add_product(stock=7, unit_price=4599)

    reply = shop.call("GET", f"/products/{product}", user)

    assert reply.status == 200
    assert reply.body == {
        "productId": product,
        "name": "Green tea",
        "unitPrice": 4599,
        "currency": "usd",
        "stock": 7,
        "reserved": 0,
        "available": 7,
    }


def test_unknown_product_is_not_found(shop: Shop) -> None:
    reply = shop.call("GET", "/products/no-such-thing", ALICE)

    assert (reply.status, reply.code) == (404, "product_not_found")


def test_restocking_keeps_the_units_that_payments_hold(shop: Shop) -> None:
    product = shop.add_product(stock=5)
    shop.pay(shop.order((product, 2)), "pm_dummy_timeout_before_charge")

    shop.add_product(product_id=product, stock=20)

    assert shop.stock(product) == Stock(stock=20, reserved=2, available=18)


def test_stock_cannot_be_set_below_the_reserved_units(shop: Shop) -> None:
    product = shop.add_product(stock=5)
    shop.pay(shop.order((product, 3)), "pm_dummy_timeout_before_charge")

    reply = shop.call(
        "PUT", f"/admin/products/{product}", ADMIN, {"name": "x", "unitPrice": 1, "currency": "usd", "stock": 2}
    )

    assert (reply.status, reply.code) == (409, "stock_below_reserved")
    assert shop.stock(product) == Stock(stock=5, reserved=3, available=2)


def test_body_is_read_as_json_under_any_content_type(shop: Shop) -> None:
    content = f'{{"items":[{{"productId":"{shop.add_product()}","quantity":1}}]}}'

    for content_type in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"):
        reply = shop.send("POST", "/orders", ALICE, content=content, headers={"Content-Type": content_type})
        assert reply.status == 201


def test_product_with_stock_only_cannot_be_ordered_until_it_is_put(shop: Shop) -> None:
    product = shop.add_product()
    shop.write_product(product, stock=5)

    refused = shop.call("POST", "/orders", ALICE, {"items": [{"productId": product, "quantity": 1}]})
    shop.add_product(product_id=product, stock=7)

    assert refused.code == "unknown_product"
    assert shop.stock(product) == Stock(stock=7, reserved=0, available=7)
