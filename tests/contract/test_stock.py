"""Edits of products during sales: no edit overwrites a sale, and a repeated adjustment applies once."""

from typing import Any

import pytest

from tests.support.shop import ADMIN, ALICE, Reply, Shop, Stock, User

OFFER = {"name": "Green tea", "unitPrice": 5000, "currency": "usd"}
UNKNOWN_OUTCOME = "pm_dummy_timeout_before_charge"


def put(shop: Shop, product: str, *, if_match: str | None = None, **changes: Any) -> Reply:
    """Put the product, without `stock` unless `changes` has it."""
    headers = None if if_match is None else {"If-Match": if_match}
    return shop.call("PUT", f"/admin/products/{product}", ADMIN, OFFER | changes, headers)


def adjust(
    shop: Shop, product: str, change: object, *, key: str | None = None, reason: str = "Damaged.", user: User = ADMIN
) -> Reply:
    headers = None if key is None else {"Idempotency-Key": key}
    body = {"change": change, "reason": reason}
    return shop.call("POST", f"/admin/products/{product}/stock-adjustments", user, body, headers)


def read(shop: Shop, product: str) -> Reply:
    return shop.call("GET", f"/products/{product}", ALICE)


def hold(shop: Shop, product: str, quantity: int) -> None:
    """Leave a payment in flight that holds the units."""
    assert shop.pay(shop.order((product, quantity)), UNKNOWN_OUTCOME).status == 202


def test_price_change_keeps_sold_and_held_units(shop: Shop) -> None:
    product = shop.add_product(stock=9)
    shop.pay(shop.order((product, 4)))
    hold(shop, product, 2)

    reply = put(shop, product)

    assert (reply.status, reply.body["unitPrice"]) == (200, 5000)
    assert shop.stock(product) == Stock(stock=5, reserved=2, available=3)


def test_new_product_without_stock_is_refused(shop: Shop) -> None:
    reply = put(shop, "never-seen")

    assert (reply.status, reply.code) == (422, "validation_error")
    assert reply.body["errors"][0]["location"] == ["body", "stock"]
    assert read(shop, "never-seen").code == "product_not_found"


def test_null_stock_is_refused(shop: Shop) -> None:
    assert put(shop, shop.add_product(), stock=None).code == "validation_error"


def test_reads_and_writes_of_a_product_return_the_same_strong_etag(shop: Shop) -> None:
    product = shop.add_product(stock=9)

    written, adjusted = put(shop, product), adjust(shop, product, -1)

    tags = [written.headers["etag"], adjusted.headers["etag"], read(shop, product).headers["etag"]]
    assert tags[1] == tags[2] != tags[0]
    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)


@pytest.mark.parametrize(
    "change",
    [
        lambda shop, product: shop.pay(shop.order((product, 1))),
        lambda shop, product: hold(shop, product, 1),
        lambda shop, product: adjust(shop, product, 1),
        lambda shop, product: put(shop, product, name="Black tea"),
        lambda shop, product: put(shop, product, unitPrice=1000),
        lambda shop, product: put(shop, product, currency="eur"),
    ],
    ids=["sale", "hold", "adjustment", "name", "price", "currency"],
)
def test_edit_with_a_stale_etag_is_refused(shop: Shop, change: Any) -> None:
    product = shop.add_product(stock=9)
    seen = read(shop, product).headers["etag"]
    change(shop, product)
    before = read(shop, product)

    reply = put(shop, product, if_match=seen, stock=9)

    assert (reply.status, reply.code) == (412, "precondition_failed")
    assert read(shop, product).body == before.body


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("header", ["{tag}", "*", '"other", {tag}', '{tag} ,"other"'])
def test_edit_with_the_current_etag_is_made(shop: Shop, header: str) -> None:
    product = shop.add_product(stock=9)

    reply = put(shop, product, if_match=header.format(tag=read(shop, product).headers["etag"]))

    assert (reply.status, reply.body["unitPrice"]) == (200, 5000)


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("header", ["W/{tag}", '"other"', "{bare}", '"*"'])
def test_etag_that_does_not_match_strongly_changes_nothing(shop: Shop, header: str) -> None:
    product = shop.add_product(stock=9)
    tag = read(shop, product).headers["etag"]

    reply = put(shop, product, if_match=header.format(tag=tag, bare=tag.strip('"')))

    assert (reply.status, reply.code) == (412, "precondition_failed")
    assert read(shop, product).headers["etag"] == tag


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("header", ["*", '"any"'])
def test_if_match_does_not_create_a_product(shop: Shop, header: str) -> None:
    reply = put(shop, "never-seen", if_match=header, stock=1)

    assert (reply.status, reply.code) == (412, "precondition_failed")
    assert read(shop, "never-seen").code == "product_not_found"


def test_if_none_match_creates_a_product_but_changes_no_existing_one(shop: Shop) -> None:
    product = f"new-{shop.add_product()}"
    path, headers = f"/admin/products/{product}", {"If-None-Match": "*"}

    first = shop.call("PUT", path, ADMIN, OFFER | {"stock": 3}, headers)
    again = shop.call("PUT", path, ADMIN, OFFER | {"stock": 9}, headers)

    assert (first.status, again.status, again.code) == (200, 412, "precondition_failed")
    assert shop.stock(product).stock == 3


def test_adjustment_changes_stock_and_available_units(shop: Shop) -> None:
    product = shop.add_product(stock=9)
    hold(shop, product, 2)

    taken, added = adjust(shop, product, -3), adjust(shop, product, 10)

    assert (taken.status, taken.body["stock"], taken.body["available"]) == (200, 6, 4)
    assert (added.status, added.body) == (200, read(shop, product).body)
    assert shop.stock(product) == Stock(stock=16, reserved=2, available=14)


def test_adjustment_cannot_remove_units_that_payments_hold(shop: Shop) -> None:
    product = shop.add_product(stock=5)
    hold(shop, product, 2)

    refused = adjust(shop, product, -4)

    assert (refused.status, refused.code) == (409, "stock_below_reserved")
    assert shop.stock(product) == Stock(stock=5, reserved=2, available=3)
    assert adjust(shop, product, -3).status == 200
    assert shop.stock(product) == Stock(stock=2, reserved=2, available=0)


def test_repeated_adjustment_with_a_key_is_made_once(shop: Shop) -> None:
    product = shop.add_product(stock=9)
    first = adjust(shop, product, -3, key="a")
    shop.pay(shop.order((product, 1)))

    again = adjust(shop, product, -3, key="a")

    assert (again.status, again.body, again.headers["etag"]) == (200, first.body, first.headers["etag"])
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert shop.stock(product).stock == 5


def test_adjustment_is_replayed_after_its_product_was_deleted(shop: Shop) -> None:
    product = shop.add_product(stock=9)
    first = adjust(shop, product, -3, key="b")
    shop.remove_product(product)

    assert adjust(shop, product, -3, key="b").body == first.body


def test_key_reused_for_another_adjustment_is_refused(shop: Shop) -> None:
    product, other = shop.add_product(stock=9), shop.add_product(stock=9)
    adjust(shop, product, -3, key="c")

    replies = [
        adjust(shop, product, -2, key="c"),
        adjust(shop, other, -3, key="c"),
        adjust(shop, product, -3, key="c", reason="Stolen."),
    ]

    assert [(reply.status, reply.code) for reply in replies] == [(409, "idempotency_key_reused")] * 3
    assert (shop.stock(product).stock, shop.stock(other).stock) == (6, 9)


def test_adjustment_keys_are_separate_for_each_admin(shop: Shop) -> None:
    product = shop.add_product(stock=9)

    first, other = (adjust(shop, product, -3, key="d", user=User(sub, ("admin",))) for sub in ("ada", "grace"))

    assert (first.body["stock"], other.body["stock"]) == (6, 3)


def test_key_of_a_refused_adjustment_can_be_used_again(shop: Shop) -> None:
    product = shop.add_product(stock=1)
    refused = adjust(shop, product, -3, key="e")
    adjust(shop, product, 9)

    assert refused.code == "stock_below_reserved"
    assert adjust(shop, product, -3, key="e").body["stock"] == 7


@pytest.mark.parametrize("change", [0, 1.5, 1.0, "1", True, None, 10**9 + 1, -(10**9) - 1, 10**30])
def test_change_that_is_not_a_whole_number_of_units_is_refused(shop: Shop, change: object) -> None:
    product = shop.add_product(stock=9)

    reply = adjust(shop, product, change)

    assert (reply.status, reply.code) == (422, "validation_error")
    assert reply.body["errors"][0]["location"] == ["body", "change"]
    assert shop.stock(product).stock == 9


@pytest.mark.parametrize("reason", ["", " ", "two\nlines", "x" * 501])
def test_adjustment_without_a_one_line_reason_is_refused(shop: Shop, reason: str) -> None:
    assert adjust(shop, shop.add_product(), -1, reason=reason).code == "validation_error"


def test_adjustment_above_the_maximum_stock_is_refused(shop: Shop) -> None:
    product = shop.add_product(stock=10**9 - 1)

    reply = adjust(shop, product, 2)

    assert (reply.status, reply.code) == (422, "validation_error")
    assert adjust(shop, product, 1).body["stock"] == 10**9


@pytest.mark.parametrize("product", ["never-seen", "-bad", "x" * 65])
def test_adjustment_of_an_unknown_product_is_not_found(shop: Shop, product: str) -> None:
    reply = adjust(shop, product, 1)

    assert (reply.status, reply.code) == (404, "product_not_found")


@pytest.mark.slow
def test_order_of_a_hundred_lines_with_the_longest_names_is_stored(shop: Shop) -> None:
    names = ["\N{TEACUP WITHOUT HANDLE}" * 200] * 99
    products = [shop.add_product(name=name, unit_price=1) for name in names]
    items = [{"productId": product, "quantity": 1} for product in [*products, products[0]]]

    reply = shop.call("POST", "/orders", ALICE, {"items": items})

    assert (reply.status, len(reply.body["items"])) == (201, 100)
    stored = shop.dynamodb.get_item(TableName=shop.orders_table, Key={"orderId": {"S": reply.body["orderId"]}})["Item"]
    assert len(str(stored).encode()) < 400_000
