"""`GET /orders` and `GET /products`: access, sort order, pages and cursors."""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest

from tests.support.shop import ADMIN, ALICE, SELLER, Shop, User, new_buyer

LISTINGS = ["orders", "products"]


def test_buyer_lists_own_orders_newest_first(shop: Shop) -> None:
    buyer, other, product = new_buyer(), new_buyer(), shop.add_product()
    placed = [shop.order((product, 1), user=buyer) for _ in range(3)]
    shop.order((product, 1), user=other)

    reply = shop.call("GET", "/orders", buyer)

    assert reply.status == 200
    assert [order["orderId"] for order in reply.body["orders"]] == placed[::-1]
    assert reply.body["cursor"] is None


def test_listed_order_is_complete_and_current(shop: Shop) -> None:
    buyer, product = new_buyer(), shop.add_product(unit_price=450)
    items = [{"productId": product, "quantity": 2}]
    placed = shop.call("POST", "/orders", buyer, {"items": items}).body
    paid = shop.pay(placed["orderId"], user=buyer).body

    reply = shop.call("GET", "/orders", buyer)

    assert reply.body["orders"] == [{**paid, "items": placed["items"]}]


def test_buyer_without_orders_gets_an_empty_page(shop: Shop) -> None:
    reply = shop.call("GET", "/orders", new_buyer())

    assert (reply.status, reply.body) == (200, {"orders": [], "cursor": None})


@pytest.mark.parametrize(
    ("limit", "sizes"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (4, [4, 1]), (5, [5]), (100, [5]), (None, [5])]
)
def test_following_the_cursor_returns_each_order_once(shop: Shop, limit: int | None, sizes: list[int]) -> None:
    buyer, product = new_buyer(), shop.add_product()
    placed = [shop.order((product, 1), user=buyer) for _ in range(5)]

    pages = shop.pages("orders", buyer, limit=limit)

    assert [len(page) for page in pages] == sizes
    assert [order["orderId"] for page in pages for order in page] == placed[::-1]


def test_default_page_has_twenty_orders(shop: Shop) -> None:
    buyer, product = new_buyer(), shop.add_product()
    for _ in range(21):
        shop.order((product, 1), user=buyer)

    assert [len(page) for page in shop.pages("orders", buyer)] == [20, 1]


def test_order_placed_between_two_pages_does_not_shift_the_next_page(shop: Shop) -> None:
    buyer, product = new_buyer(), shop.add_product()
    older, newer = (shop.order((product, 1), user=buyer) for _ in range(2))
    first = shop.call("GET", "/orders?limit=1", buyer).body
    shop.order((product, 1), user=buyer)

    second = shop.call("GET", f"/orders?limit=1&cursor={first['cursor']}", buyer).body

    assert [order["orderId"] for order in first["orders"]] == [newer]
    assert [order["orderId"] for order in second["orders"]] == [older]


def test_following_the_cursor_returns_each_product_once(shop: Shop) -> None:
    products = {shop.add_product() for _ in range(5)}

    pages = shop.pages("products", ALICE, limit=2)
    listed = [product["productId"] for page in pages for product in page]

    assert all(0 < len(page) <= 2 for page in pages)
    assert products <= set(listed)
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("user", [ALICE, SELLER, ADMIN, User("no-role", ())], ids=lambda user: user.sub)
def test_every_signed_in_user_lists_products_with_their_stock(shop: Shop, user: User) -> None:
    product = shop.add_product(stock=5, unit_price=4599)
    shop.pay(shop.order((product, 2)), "pm_dummy_timeout_before_charge")

    listed = {entry["productId"]: entry for page in shop.pages("products", user, limit=100) for entry in page}

    assert listed[product] == shop.call("GET", f"/products/{product}", user).body
    assert (listed[product]["stock"], listed[product]["reserved"], listed[product]["available"]) == (5, 2, 3)


def test_product_with_stock_only_is_not_listed_and_pages_stay_full(shop: Shop) -> None:
    complete = [shop.add_product() for _ in range(4)]
    stock_only = [shop.add_product() for _ in range(4)]
    for product in stock_only:
        shop.write_product(product, stock=5)

    pages = shop.pages("products", ALICE, limit=3)

    listed = [entry["productId"] for page in pages for entry in page]
    assert all(len(page) == 3 for page in pages[:-1])
    assert set(complete) <= set(listed)
    assert not set(stock_only) & set(listed)


@pytest.mark.parametrize("user", [SELLER, ADMIN, User("no-role", ())], ids=lambda user: user.sub)
def test_only_buyers_list_their_orders(shop: Shop, user: User) -> None:
    reply = shop.call("GET", "/orders", user)

    assert (reply.status, reply.code) == (403, "forbidden")


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("limit", ["0", "101", "-1", "1.5", "5.0", "05", "1_0", "%2B5", "many", "", "1e2", "9" * 30])
def test_limit_that_is_not_an_integer_from_1_to_100_is_refused(shop: Shop, listing: str, limit: str) -> None:
    reply = shop.call("GET", f"/{listing}?limit={limit}", ALICE)

    assert (reply.status, reply.code) == (422, "validation_error")
    assert reply.body["errors"][0]["location"] == ["query", "limit"]


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("query", ["limt=5", "limit=5&page=2", "Limit=5", "offset=0&limit=5"])
def test_listing_refuses_an_unknown_query_parameter(shop: Shop, listing: str, query: str) -> None:
    reply = shop.call("GET", f"/{listing}?{query}", ALICE)

    (unknown,) = {part.partition("=")[0] for part in query.split("&")} - {"limit"}
    assert (reply.status, reply.code) == (422, "validation_error")
    assert [error["location"] for error in reply.body["errors"]] == [["query", unknown]]


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("query", ["limit=5&limit=6", "limit=5&limit=5", "cursor=x&cursor=x"])
def test_listing_refuses_a_repeated_query_parameter(shop: Shop, listing: str, query: str) -> None:
    reply = shop.call("GET", f"/{listing}?{query}", ALICE)

    assert (reply.status, reply.code) == (422, "validation_error")
    (error,) = reply.body["errors"]
    assert error["location"] == ["query", query.partition("=")[0]]
    assert "repeated" in error["message"]


def cursor_of(shop: Shop, listing: str, user: User) -> str:
    """Return a cursor of the user's listing, after adding two entries to it."""
    product = shop.add_product()
    shop.add_product()
    for _ in range(2):
        shop.order((product, 1), user=user)
    cursor: str = shop.call("GET", f"/{listing}?limit=1", user).body["cursor"]
    return cursor


def assert_refused(shop: Shop, listing: str, cursor: str, user: User) -> None:
    """Assert that the listing refuses the cursor with a validation error."""
    reply = shop.call("GET", f"/{listing}?cursor={cursor}", user)
    assert (reply.status, reply.code) == (422, "validation_error")
    assert reply.body["errors"][0]["location"] == ["query", "cursor"]


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("listing", LISTINGS)
def test_another_users_cursor_is_refused(shop: Shop, listing: str) -> None:
    cursor = cursor_of(shop, listing, new_buyer())

    assert_refused(shop, listing, cursor, new_buyer())


@pytest.mark.parametrize("listing", LISTINGS)
def test_cursor_of_the_other_listing_is_refused(shop: Shop, listing: str) -> None:
    buyer = new_buyer()
    (other,) = set(LISTINGS) - {listing}

    assert_refused(shop, listing, cursor_of(shop, other, buyer), buyer)


@pytest.mark.parametrize("listing", LISTINGS)
def test_cursor_with_any_byte_changed_is_refused(shop: Shop, listing: str) -> None:
    buyer = new_buyer()
    cursor = cursor_of(shop, listing, buyer)
    sealed = urlsafe_b64decode(cursor)

    for index in (0, 11, 12, len(sealed) // 2, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[index] ^= 1
        assert_refused(shop, listing, urlsafe_b64encode(changed).decode(), buyer)


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("cursor", ["x", "bm90LW91cnM=", "%00", "%F0%9F%8D%B5", "a" * 1024, "null", "W10="])
def test_invented_cursor_is_refused(shop: Shop, listing: str, cursor: str) -> None:
    assert_refused(shop, listing, cursor, ALICE)


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("ending", ["", "=", "A", "%0A", "%20"])
def test_extended_or_shortened_cursor_is_refused(shop: Shop, listing: str, ending: str) -> None:
    buyer = new_buyer()
    cursor = cursor_of(shop, listing, buyer)

    assert_refused(shop, listing, (cursor + ending) if ending else cursor[:-1], buyer)


@pytest.mark.parametrize(
    ("listing", "key"),
    [
        *(("orders", key) for key in (None, 5, "ab", [], ["a"], ["a", "b"], ["a", "b", "c"], ["", ""], [True, 1.5])),
        ("orders", ["2026-11-23T05:50:20.090Z", "ord_1"]),
        ("orders", ["yesterday", "ord_" + "0" * 32]),
        ("orders", {"a": 1, "b": 2}),
        *(("products", key) for key in (None, 1, "ab", [], [""], ["", ""], [1], ["a/b"], ["a" * 65])),
    ],
    ids=str,
)
def test_correctly_sealed_cursor_without_a_valid_key_is_refused(shop: Shop, listing: str, key: object) -> None:
    position = json.dumps(key).encode()
    seal = hashlib.sha256(json.dumps([listing, ALICE.sub]).encode() + position).digest()[:12]

    assert_refused(shop, listing, urlsafe_b64encode(seal + position).decode(), ALICE)


def test_orders_too_large_for_one_response_are_split_into_pages(shop: Shop) -> None:
    buyer, name = new_buyer(), "\N{TEACUP WITHOUT HANDLE}" * 200
    product = shop.add_product(name=name)
    placed = [shop.order(*[(product, 1)] * 100, user=buyer) for _ in range(25)]

    pages = shop.pages("orders", buyer, limit=100)

    assert [order["orderId"] for page in pages for order in page] == placed[::-1]
    assert len(pages) > 1
    assert all(len(json.dumps(json.dumps({"orders": page}))) < 6_000_000 for page in pages)
