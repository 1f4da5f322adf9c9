"""Hostile and invalid requests return the contract's error and change nothing."""

import json
from typing import Any

import pytest

from tests.support.shop import ADMIN, ALICE, SELLER, Shop, Stock, User

NOT_AN_OBJECT = [
    "",
    "not json",
    "{",
    '"text"',
    "[]",
    "1",
    "null",
    "\ufeff{}",
    "\ufeff",
    "\0{}",
    "[" * 100_000,
    '{"a":' * 50_000,
]

BAD_ITEMS: dict[str, Any] = {
    "no items": {},
    "items null": {"items": None},
    "items an object": {"items": {}},
    "items a text": {"items": "x"},
    "no line": {"items": []},
    "101 lines": {"items": [{"productId": "x", "quantity": 1}] * 101},
    "line not an object": {"items": ["x"]},
    "line null": {"items": [None]},
    "no product": {"items": [{"quantity": 1}]},
    "no quantity": {"items": [{"productId": "x"}]},
    "product a number": {"items": [{"productId": 1, "quantity": 1}]},
    "product null": {"items": [{"productId": None, "quantity": 1}]},
    "product empty": {"items": [{"productId": "", "quantity": 1}]},
    "product too long": {"items": [{"productId": "x" * 65, "quantity": 1}]},
    "product far too long": {"items": [{"productId": "x" * 100_000, "quantity": 1}]},
    "quantity zero": {"items": [{"productId": "x", "quantity": 0}]},
    "quantity negative": {"items": [{"productId": "x", "quantity": -1}]},
    "quantity fractional": {"items": [{"productId": "x", "quantity": 1.5}]},
    "quantity a whole float": {"items": [{"productId": "x", "quantity": 1.0}]},
    "quantity a text": {"items": [{"productId": "x", "quantity": "1"}]},
    "quantity true": {"items": [{"productId": "x", "quantity": True}]},
    "quantity huge": {"items": [{"productId": "x", "quantity": 10**18}]},
    "quantity of 400 digits": {"items": [{"productId": "x", "quantity": 10**400}]},
    "unknown field": {"items": [{"productId": "x", "quantity": 1}], "currency": "usd"},
    "unknown field in a line": {"items": [{"productId": "x", "quantity": 1, "unitPrice": 1}]},
    "snake case": {"items": [{"product_id": "x", "quantity": 1}]},
}

RAW_BODIES = {
    "quantity NaN": '{"items":[{"productId":"x","quantity":NaN}]}',
    "quantity Infinity": '{"items":[{"productId":"x","quantity":Infinity}]}',
    "quantity 1e400": '{"items":[{"productId":"x","quantity":1e400}]}',
    "quantity of 10,000 digits": '{"items":[{"productId":"x","quantity":' + "9" * 10_000 + "}]}",
    "lone surrogate": '{"items":[{"productId":"\\ud800","quantity":1}]}',
    "trailing comma": '{"items":[{"productId":"x","quantity":1},]}',
    "two documents": '{"items":[]}{"items":[]}',
}

BAD_PRODUCTS: dict[str, Any] = {
    "no name": {"unitPrice": 1, "currency": "usd", "stock": 1},
    "empty name": {"name": "", "unitPrice": 1, "currency": "usd", "stock": 1},
    "name too long": {"name": "x" * 201, "unitPrice": 1, "currency": "usd", "stock": 1},
    "name with a control character": {"name": "a\u0000b", "unitPrice": 1, "currency": "usd", "stock": 1},
    "price negative": {"name": "x", "unitPrice": -1, "currency": "usd", "stock": 1},
    "price zero": {"name": "x", "unitPrice": 0, "currency": "usd", "stock": 1},
    "price fractional": {"name": "x", "unitPrice": 45.99, "currency": "usd", "stock": 1},
    "price a text": {"name": "x", "unitPrice": "4599", "currency": "usd", "stock": 1},
    "price huge": {"name": "x", "unitPrice": 10**9, "currency": "usd", "stock": 1},
    "price above any maximum": {"name": "x", "unitPrice": 10**12, "currency": "idr", "stock": 1},
    "currency upper case": {"name": "x", "unitPrice": 1, "currency": "USD", "stock": 1},
    "currency unknown": {"name": "x", "unitPrice": 1, "currency": "zzz", "stock": 1},
    "currency withdrawn": {"name": "x", "unitPrice": 1, "currency": "bgn", "stock": 1},
    "stock negative": {"name": "x", "unitPrice": 1, "currency": "usd", "stock": -1},
    "stock fractional": {"name": "x", "unitPrice": 1, "currency": "usd", "stock": 0.5},
    "stock huge": {"name": "x", "unitPrice": 1, "currency": "usd", "stock": 10**30},
    "unknown field": {"name": "x", "unitPrice": 1, "currency": "usd", "stock": 1, "available": 1},
}

BAD_PAYMENTS: dict[str, Any] = {
    "a number": {"paymentMethodId": 1},
    "null": {"paymentMethodId": None},
    "empty": {"paymentMethodId": ""},
    "too long": {"paymentMethodId": "pm_" + "x" * 253},
    "an object": {"paymentMethodId": {"id": "pm_card_visa"}},
    "unknown field": {"paymentMethodId": "pm_card_visa", "amount": 1},
    "snake case": {"payment_method_id": "pm_card_visa"},
    "an array": [],
}


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("content", NOT_AN_OBJECT, ids=lambda content: content[:10] or "empty")
def test_order_body_that_is_not_a_json_object_is_refused(shop: Shop, content: str) -> None:
    reply = shop.send("POST", "/orders", ALICE, content=content)

    assert (reply.status, reply.code) == (422, "validation_error")
    assert reply.body["errors"]


@pytest.mark.parametrize("case", BAD_ITEMS)
def test_order_with_invalid_items_is_refused_with_their_location(shop: Shop, case: str) -> None:
    reply = shop.send("POST", "/orders", ALICE, content=json.dumps(BAD_ITEMS[case]))

    assert (reply.status, reply.code) == (422, "validation_error")
    assert all(error["location"][0] == "body" and error["message"] for error in reply.body["errors"])


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("case", RAW_BODIES)
def test_order_in_malformed_json_is_refused(shop: Shop, case: str) -> None:
    reply = shop.send("POST", "/orders", ALICE, content=RAW_BODIES[case])

    assert (reply.status, reply.code) == (422, "validation_error")


def test_order_of_a_hundred_lines_is_accepted(shop: Shop) -> None:
    product = shop.add_product(stock=100, unit_price=1)

    reply = shop.pay(shop.order(*[(product, 1)] * 100))

    assert reply.status == 200
    assert shop.stock(product) == Stock(stock=0, reserved=0, available=0)


def test_order_with_too_many_products_for_a_transaction_is_refused(shop: Shop) -> None:
    items = [{"productId": f"p{n}", "quantity": 1} for n in range(100)]

    reply = shop.call("POST", "/orders", ALICE, {"items": items})

    assert (reply.status, reply.code) == (422, "validation_error")


@pytest.mark.parametrize(
    ("unit_price", "currency", "quantity", "rule"),
    [
        (10, "usd", 1, "0.50 USD"),
        (99_999_999, "usd", 2, "999,999.99 USD"),
        (999_999_999_999, "idr", 2, "9,999,999,999.99 IDR"),
        (49, "jpy", 1, "50 JPY"),
    ],
)
def test_total_that_stripe_cannot_charge_is_refused_with_the_limit(
    shop: Shop, unit_price: int, currency: str, quantity: int, rule: str
) -> None:
    product = shop.add_product(unit_price=unit_price, currency=currency)

    reply = shop.call("POST", "/orders", ALICE, {"items": [{"productId": product, "quantity": quantity}]})

    assert (reply.status, reply.code) == (422, "validation_error")
    (error,) = reply.body["errors"]
    assert error["location"] == ["body", "items"]
    assert rule in error["message"]


@pytest.mark.parametrize(
    ("unit_price", "currency", "quantity"),
    [(10, "usd", 5), (150_000_000, "idr", 1), (5120, "kwd", 1), (5000, "ugx", 1), (100, "xcg", 1)],
)
def test_total_at_the_limits_of_its_currency_can_be_paid(
    shop: Shop, unit_price: int, currency: str, quantity: int
) -> None:
    product = shop.add_product(unit_price=unit_price, currency=currency)

    reply = shop.pay(shop.order((product, quantity)))

    assert (reply.status, reply.body["totalAmount"]) == (200, unit_price * quantity)


@pytest.mark.parametrize(
    ("unit_price", "currency", "rule"),
    [
        (5124, "kwd", "0.010 KWD"),
        (4010, "isk", "1.00 ISK"),
        (5050, "ugx", "1.00 UGX"),
        (10**8, "usd", "999,999.99 USD"),
    ],
)
def test_price_that_stripe_cannot_charge_is_refused_with_the_limit(
    shop: Shop, unit_price: int, currency: str, rule: str
) -> None:
    body = {"name": "Tea", "unitPrice": unit_price, "currency": currency, "stock": 1}

    reply = shop.call("PUT", "/admin/products/odd-price", ADMIN, body)

    assert (reply.status, reply.code) == (422, "validation_error")
    (error,) = reply.body["errors"]
    assert error["location"] == ["body", "unitPrice"]
    assert rule in error["message"]
    assert shop.call("GET", "/products/odd-price", ALICE).code == "product_not_found"


def test_order_of_unknown_products_is_refused_and_names_them(shop: Shop) -> None:
    known = shop.add_product()
    items = [{"productId": known, "quantity": 1}, {"productId": "no-such-thing", "quantity": 1}]

    reply = shop.call("POST", "/orders", ALICE, {"items": items})

    assert (reply.status, reply.code) == (422, "unknown_product")
    assert [error["location"] for error in reply.body["errors"]] == [["body", "items", 1, "productId"]]


def test_order_in_two_currencies_is_refused(shop: Shop) -> None:
    items = [{"productId": shop.add_product(currency=currency), "quantity": 1} for currency in ("usd", "eur")]

    reply = shop.call("POST", "/orders", ALICE, {"items": items})

    assert (reply.status, reply.code) == (422, "mixed_currencies")


@pytest.mark.parametrize("user", [SELLER, ADMIN, User("no-role", ())], ids=lambda user: user.sub)
def test_only_buyers_place_orders(shop: Shop, user: User) -> None:
    product = shop.add_product()

    reply = shop.call("POST", "/orders", user, {"items": [{"productId": product, "quantity": 1}]})

    assert (reply.status, reply.code) == (403, "forbidden")


@pytest.mark.parametrize("case", BAD_PAYMENTS)
def test_invalid_payment_request_is_refused_and_changes_nothing(shop: Shop, case: str) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 1))
    before = shop.status(order)

    reply = shop.call("POST", f"/orders/{order}/payment", ALICE, BAD_PAYMENTS[case])

    assert (reply.status, reply.code) == (422, "validation_error")
    assert shop.status(order) == before
    assert shop.stock(product) == Stock(stock=5, reserved=0, available=5)


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("query", ["colour=red", "paymentMethodId=pm_card_visa", "Limit=5", "=", "%00=1", "x[]=1"])
def test_payment_with_an_unknown_query_parameter_is_refused(shop: Shop, query: str) -> None:
    product = shop.add_product(stock=5)
    order = shop.order((product, 1))

    reply = shop.call("POST", f"/orders/{order}/payment?{query}", ALICE)

    assert (reply.status, reply.code) == (422, "validation_error")
    assert reply.body["errors"][0]["location"][0] == "query"
    assert shop.status(order)["status"] == "pending"


def test_role_is_checked_before_the_query_parameters(shop: Shop) -> None:
    order = shop.order((shop.add_product(), 1))

    assert shop.call("GET", f"/orders/{order}/status?colour=red", SELLER).status == 403
    assert shop.call("GET", f"/orders/{order}/status?colour=red", ALICE).status == 422


@pytest.mark.parametrize("content", ["null", "{", "[]", '"pm_card_visa"', "0", "false"])
def test_payment_body_that_is_not_a_json_object_is_refused(shop: Shop, content: str) -> None:
    order = shop.order((shop.add_product(), 1))

    reply = shop.send("POST", f"/orders/{order}/payment", ALICE, content=content)

    assert (reply.status, reply.code) == (422, "validation_error")
    assert shop.status(order)["status"] == "pending"


@pytest.mark.parametrize("case", BAD_PRODUCTS)
def test_invalid_product_is_refused_and_not_stored(shop: Shop, case: str) -> None:
    reply = shop.call("PUT", "/admin/products/never-stored", ADMIN, BAD_PRODUCTS[case])

    assert (reply.status, reply.code) == (422, "validation_error")
    assert shop.call("GET", "/products/never-stored", ALICE).code == "product_not_found"


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("ending", ["%0A", "%0D", "%00", "%E2%80%A8"])
def test_id_with_a_trailing_control_character_is_not_found(shop: Shop, ending: str) -> None:
    product, order = shop.add_product(), shop.order((shop.add_product(), 1))

    assert shop.call("GET", f"/products/{product}{ending}", ALICE).status in (403, 404)
    assert shop.call("GET", f"/orders/{order}{ending}/status", ALICE).status in (403, 404)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"items":[],"items":[]}', "repeats"),
        ("null", "null"),
        ('{"items":[NaN]}', "expected value"),
        ("{} x", "trailing"),
    ],
)
def test_malformed_json_is_refused_with_the_reason(shop: Shop, content: str, reason: str) -> None:
    reply = shop.send("POST", "/orders", ALICE, content=content)

    (error,) = reply.body["errors"]
    assert error["location"] == ["body"]
    assert reason in error["message"]


def test_malformed_product_id_is_reported_as_a_path_parameter(shop: Shop) -> None:
    body = {"name": "Tea", "unitPrice": 1, "currency": "usd", "stock": 1}

    reply = shop.call("PUT", "/admin/products/-tea", ADMIN, body)

    assert [error["location"] for error in reply.body["errors"]] == [["path", "productId"]]


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("product_id", ["-x", "x" * 65, "a%20b", "a%00b"])
def test_malformed_product_id_is_not_stored(shop: Shop, product_id: str) -> None:
    body = {"name": "x", "unitPrice": 1, "currency": "usd", "stock": 1}

    reply = shop.call("PUT", f"/admin/products/{product_id}", ADMIN, body)

    assert reply.status in (404, 422)
    assert shop.call("GET", f"/products/{product_id}", ALICE).code == "product_not_found"


@pytest.mark.parametrize("user", [ALICE, SELLER], ids=lambda user: user.sub)
def test_only_admins_put_products(shop: Shop, user: User) -> None:
    product = shop.add_product(stock=5)

    reply = shop.call(
        "PUT", f"/admin/products/{product}", user, {"name": "x", "unitPrice": 1, "currency": "usd", "stock": 1}
    )

    assert (reply.status, reply.code) == (403, "forbidden")
    assert shop.stock(product) == Stock(stock=5, reserved=0, available=5)
