"""`GET /orders`, `GET /admin/orders` and `GET /products`: access, sort order, filters, pages and cursors."""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from itertools import permutations
from urllib.parse import urlencode

import pytest

from tests.support.shop import ADMIN, ALICE, SELLER, Reply, Shop, User, new_buyer

LISTINGS = ["orders", "admin/orders", "products"]
READER = User("rita", ("buyer", "admin"))
"""A user who may read every listing."""


def new_reader() -> User:
    """Return a user who may read every listing, and that no other test uses."""
    return User(new_buyer().sub, READER.roles)


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
    reply = shop.call("GET", f"/{listing}?limit={limit}", READER)

    assert (reply.status, reply.code) == (422, "validation_error")
    assert reply.body["errors"][0]["location"] == ["query", "limit"]


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("query", ["limt=5", "limit=5&page=2", "Limit=5", "offset=0&limit=5"])
def test_listing_refuses_an_unknown_query_parameter(shop: Shop, listing: str, query: str) -> None:
    reply = shop.call("GET", f"/{listing}?{query}", READER)

    (unknown,) = {part.partition("=")[0] for part in query.split("&")} - {"limit"}
    assert (reply.status, reply.code) == (422, "validation_error")
    assert [error["location"] for error in reply.body["errors"]] == [["query", unknown]]


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("query", ["limit=5&limit=6", "limit=5&limit=5", "cursor=x&cursor=x"])
def test_listing_refuses_a_repeated_query_parameter(shop: Shop, listing: str, query: str) -> None:
    reply = shop.call("GET", f"/{listing}?{query}", READER)

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
    cursor = cursor_of(shop, listing, new_reader())

    assert_refused(shop, listing, cursor, new_reader())


@pytest.mark.parametrize(("listing", "other"), list(permutations(LISTINGS, 2)))
def test_cursor_of_another_listing_is_refused(shop: Shop, listing: str, other: str) -> None:
    user = new_reader()

    assert_refused(shop, listing, cursor_of(shop, other, user), user)


@pytest.mark.parametrize("listing", LISTINGS)
def test_cursor_with_any_byte_changed_is_refused(shop: Shop, listing: str) -> None:
    user = new_reader()
    cursor = cursor_of(shop, listing, user)
    sealed = urlsafe_b64decode(cursor)

    for index in (0, 11, 12, len(sealed) // 2, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[index] ^= 1
        assert_refused(shop, listing, urlsafe_b64encode(changed).decode(), user)


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("cursor", ["x", "bm90LW91cnM=", "%00", "%F0%9F%8D%B5", "a" * 1024, "null", "W10="])
def test_invented_cursor_is_refused(shop: Shop, listing: str, cursor: str) -> None:
    assert_refused(shop, listing, cursor, READER)


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("ending", ["", "=", "A", "%0A", "%20"])
def test_extended_or_shortened_cursor_is_refused(shop: Shop, listing: str, ending: str) -> None:
    user = new_reader()
    cursor = cursor_of(shop, listing, user)

    assert_refused(shop, listing, (cursor + ending) if ending else cursor[:-1], user)


def seal(listing: str, key: object, user: User = READER) -> str:
    """Return a cursor of the listing without filters, as the service makes it."""
    position = json.dumps(key).encode()
    context = ["all orders", user.sub, None, None, None, None] if listing == "admin/orders" else [listing, user.sub]
    return urlsafe_b64encode(hashlib.sha256(json.dumps(context).encode() + position).digest()[:12] + position).decode()


@pytest.mark.parametrize(
    ("listing", "key"),
    [
        *(("orders", key) for key in (None, 5, "ab", [], ["a"], ["a", "b"], ["a", "b", "c"], ["", ""], [True, 1.5])),
        ("orders", ["2026-11-23T05:50:20.090Z", "ord_1"]),
        ("orders", ["yesterday", "ord_" + "0" * 32]),
        ("orders", {"a": 1, "b": 2}),
        ("admin/orders", ["2026-11-23T05:50:20.090Z", "ord_1"]),
        ("admin/orders", ["yesterday", "ord_" + "0" * 32]),
        *(("products", key) for key in (None, 1, "ab", [], [""], ["", ""], [1], ["a/b"], ["a" * 65])),
    ],
    ids=str,
)
def test_correctly_sealed_cursor_without_a_valid_key_is_refused(shop: Shop, listing: str, key: object) -> None:
    assert_refused(shop, listing, seal(listing, key), READER)


@pytest.mark.parametrize(
    "key", [["9999-12-31T23:59:59.999Z", "ord_" + "f" * 32], ["0001-01-01T00:00:00.000Z", "ord_" + "0" * 32]]
)
def test_correctly_sealed_cursor_with_an_invented_key_lists_only_matching_orders(shop: Shop, key: list[str]) -> None:
    user = new_reader()
    order = shop.order((shop.add_product(), 1), user=user)

    for listing in ("orders", "admin/orders"):
        reply = shop.call("GET", f"/{listing}?cursor={seal(listing, key, user)}", user)
        assert reply.status == 200
        assert (order in [listed["orderId"] for listed in reply.body["orders"]]) == key[0].startswith("9")


@pytest.mark.slow
def test_orders_too_large_for_one_response_are_split_into_pages(shop: Shop) -> None:
    buyer, name = new_buyer(), "\N{TEACUP WITHOUT HANDLE}" * 200
    product = shop.add_product(name=name)
    placed = [shop.order(*[(product, 1)] * 100, user=buyer) for _ in range(25)]

    pages = shop.pages("orders", buyer, limit=100)

    assert [order["orderId"] for page in pages for order in page] == placed[::-1]
    assert len(pages) > 1
    assert all(len(json.dumps(json.dumps({"orders": page}))) < 6_000_000 for page in pages)


# ---- The orders of all buyers ----


def list_all(shop: Shop, **filters: str) -> Reply:
    """Return the first page of the orders that match the filters."""
    return shop.call("GET", f"/admin/orders?{urlencode(filters)}", ADMIN)


def ids_of(reply: Reply) -> list[str]:
    assert reply.status == 200, reply
    return [order["orderId"] for order in reply.body["orders"]]


def place(shop: Shop, *buyers: User) -> list[dict[str, str]]:
    """Place an order of each buyer and return them, oldest first. Each has its own time."""
    product = shop.add_product(unit_price=450)
    placed: list[dict[str, str]] = []
    while len(placed) < len(buyers):
        items = {"items": [{"productId": product, "quantity": 2}]}
        order = shop.call("POST", "/orders", buyers[len(placed)], items).body
        if not placed or placed[-1]["createdAt"] < order["createdAt"]:
            placed.append(order)
    return placed


def test_admin_lists_the_orders_of_all_buyers_newest_first(shop: Shop) -> None:
    placed = place(shop, new_buyer(), new_buyer(), new_buyer())

    reply = list_all(shop, limit="3")

    assert ids_of(reply) == [order["orderId"] for order in reversed(placed)]


def test_order_in_the_list_of_all_orders_is_complete_and_current(shop: Shop) -> None:
    (placed,) = place(shop, buyer := new_buyer())
    paid = shop.pay(placed["orderId"], user=buyer).body

    reply = list_all(shop, limit="1")

    assert reply.body["orders"] == [{**paid, "items": placed["items"]}]


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_following_the_cursor_returns_each_order_of_every_buyer_once(shop: Shop, limit: int) -> None:
    placed = place(shop, *[new_buyer() for _ in range(5)])

    pages = shop.pages("admin/orders", ADMIN, limit=limit, placedFrom=placed[0]["createdAt"])

    assert [order["orderId"] for page in pages for order in page] == [order["orderId"] for order in reversed(placed)]


def test_page_of_all_orders_has_more_orders_if_the_limit_grows(shop: Shop) -> None:
    placed = [order["orderId"] for order in place(shop, *[new_buyer() for _ in range(5)])]
    cursor = list_all(shop, limit="2").body["cursor"]

    assert ids_of(list_all(shop, limit="3", cursor=cursor)) == placed[2::-1]


def test_orders_are_filtered_by_buyer_status_and_time(shop: Shop) -> None:
    buyer, other = new_buyer(), new_buyer()
    placed = place(shop, buyer, other, buyer, buyer)
    first, foreign, middle, last = (order["orderId"] for order in placed)
    shop.pay(first, user=buyer)
    shop.pay(middle, "pm_card_visa_chargeDeclined", user=buyer)
    times = [order["createdAt"] for order in placed]
    ours = {"buyerId": buyer.sub}

    assert ids_of(list_all(shop, **ours)) == [last, middle, first]
    assert ids_of(list_all(shop, **ours, status="confirmed")) == [first]
    assert ids_of(list_all(shop, **ours, status="cancelled")) == [middle]
    assert ids_of(list_all(shop, **ours, status="pending")) == [last]
    assert ids_of(list_all(shop, **ours, placedFrom=times[1])) == [last, middle]
    assert ids_of(list_all(shop, **ours, placedTo=times[2])) == [middle, first]
    assert ids_of(list_all(shop, placedFrom=times[0], placedTo=times[2])) == [middle, foreign, first]
    assert ids_of(list_all(shop, placedFrom=times[1], placedTo=times[1])) == [foreign]
    assert ids_of(list_all(shop, placedFrom=times[0], placedTo=times[3], status="pending")) == [last, foreign]
    assert ids_of(list_all(shop, **ours, placedFrom=times[0], placedTo=times[2], status="confirmed")) == [first]
    assert ids_of(list_all(shop, buyerId=new_buyer().sub)) == []


@pytest.mark.parametrize("text", ["2026-11-23T05:50:20Z", "2026-11-23t05:50:20.1z", "2026-11-23T06:50:20+01:00"])
def test_every_form_of_an_rfc_3339_time_is_accepted(shop: Shop, text: str) -> None:
    (order,) = place(shop, buyer := new_buyer())

    assert ids_of(list_all(shop, buyerId=buyer.sub, placedFrom=text)) == [order["orderId"]]
    assert ids_of(list_all(shop, buyerId=buyer.sub, placedTo=text)) == []


def test_offset_of_a_time_counts(shop: Shop) -> None:
    (order,) = place(shop, buyer := new_buyer())
    time = order["createdAt"].removesuffix("Z")

    assert ids_of(list_all(shop, buyerId=buyer.sub, placedFrom=f"{time}+01:00", placedTo=f"{time}-01:00")) != []
    assert ids_of(list_all(shop, buyerId=buyer.sub, placedTo=f"{time}+01:00")) == []


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("parameter", ["placedFrom", "placedTo"])
@pytest.mark.parametrize(
    "value",
    [
        *("", "yesterday", "1795424400", "2026-11-23", "2026-11-23T05:50:20", "2026-11-23 05:50:20Z"),
        *("2026-13-01T00:00:00Z", "2026-11-23T05:50:20+01", "+2026-11-23T05:50:20Z"),
        *("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"),
    ],
)
def test_time_that_is_not_rfc_3339_is_refused(shop: Shop, parameter: str, value: str) -> None:
    reply = list_all(shop, **{parameter: value})

    assert (reply.status, reply.code) == (422, "validation_error")
    assert [error["location"] for error in reply.body["errors"]] == [["query", parameter]]


@pytest.mark.every_case_over_http
@pytest.mark.parametrize(
    ("parameter", "value"),
    [("status", ""), ("status", "paid"), ("status", "Pending"), ("buyerId", ""), ("buyerId", "b" * 256)],
)
def test_invalid_filter_is_refused(shop: Shop, parameter: str, value: str) -> None:
    reply = list_all(shop, **{parameter: value})

    assert (reply.status, reply.code) == (422, "validation_error")
    assert [error["location"] for error in reply.body["errors"]] == [["query", parameter]]


@pytest.mark.every_case_over_http
@pytest.mark.parametrize("query", ["buyer_id=a", "placed_from=2026-11-23T05:50:20Z", "Status=pending", "orderId=a"])
def test_list_of_all_orders_refuses_an_unknown_filter(shop: Shop, query: str) -> None:
    reply = shop.call("GET", f"/admin/orders?{query}", ADMIN)

    assert (reply.status, reply.code) == (422, "validation_error")
    assert reply.body["errors"][0]["location"] == ["query", query.partition("=")[0]]


def test_period_that_ends_before_it_begins_is_refused(shop: Shop) -> None:
    reply = list_all(shop, placedFrom="2026-11-23T05:50:20.001Z", placedTo="2026-11-23T05:50:20.000Z")

    assert (reply.status, reply.code) == (422, "validation_error")
    assert reply.body["errors"][0]["location"] == ["query", "placedFrom"]


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"placedFrom": "2026-01-01T00:00:00.001Z"},
        {"placedTo": "2026-01-01T00:00:00Z"},
        {"placedFrom": "2026-01-01T00:00:00Z", "placedTo": "9999-01-01T00:00:00Z"},
        {"placedFrom": "2026-01-01T00:00:00Z", "status": "pending"},
        {"placedFrom": "2026-01-01T00:00:00Z", "buyerId": "alice"},
    ],
    ids=str,
)
def test_cursor_is_refused_with_another_filter(shop: Shop, other: dict[str, str]) -> None:
    place(shop, new_buyer(), new_buyer())
    cursor = list_all(shop, limit="1", placedFrom="2026-01-01T00:00:00Z").body["cursor"]

    reply = list_all(shop, cursor=cursor, **other)

    assert (reply.status, reply.code) == (422, "validation_error")
    assert reply.body["errors"][0]["location"] == ["query", "cursor"]


def test_cursor_fits_the_same_time_in_another_form(shop: Shop) -> None:
    place(shop, new_buyer(), new_buyer())
    cursor = list_all(shop, limit="1", placedFrom="2026-01-01T00:00:00Z").body["cursor"]

    assert list_all(shop, cursor=cursor, placedFrom="2026-01-01T01:00:00.000+01:00").status == 200
