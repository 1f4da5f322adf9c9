"""Loading a catalogue into the API, and the messages for bad rows."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from local.shop.catalogue import COLUMNS, SAMPLE, Row, read
from local.shop.seed import RULES, load
from tests.support.api_document import DOCUMENT

GOOD = {"productId": "tea", "name": "Tea", "unitPrice": 450, "currency": "usd", "stock": 1}


class Api:
    """A fake API that refuses products without a price or with a negative stock."""

    def __init__(self) -> None:
        self.products: dict[str, Any] = {}
        self.client = httpx.Client(base_url="http://api/v1", transport=httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if "unitPrice" not in body:
            fault = {"location": ["body", "unitPrice"], "message": "Field required"}
            return httpx.Response(422, json={"detail": "Bad form.", "code": "validation_error", "errors": [fault]})
        if body.get("stock", 0) < 0:
            return httpx.Response(409, json={"detail": "Payments hold some.", "code": "stock_below_reserved"})
        path = request.url.raw_path.decode()
        if request.headers.get("If-None-Match") == "*" and path in self.products:
            return httpx.Response(412, json={"detail": "It exists.", "code": "precondition_failed"})
        self.products[path] = self.products.get(path, {}) | body
        return httpx.Response(200, json=body)


def refusal_message(column: str, **values: object) -> str:
    """Return the message for a row in which the API refuses this column."""
    fault = {"location": ["body", column], "message": "String should match pattern '^[^\\\\x00]*$'"}
    response = httpx.Response(422, json={"detail": "Bad form.", "code": "validation_error", "errors": [fault, fault]})
    with httpx.Client(base_url="http://api", transport=httpx.MockTransport(lambda _: response)) as client:
        return load(client, [Row(1, {**GOOD, **values})]).bad[1]


def test_bad_rows_are_reported_by_number_and_the_others_loaded() -> None:
    api, done = Api(), []
    rows = [
        Row(2, {"productId": "tea", "unitPrice": 1, "stock": 1}),
        Row(3, {"productId": "mug", "stock": 1}),
        Row(5, {"productId": "held", "unitPrice": 1, "stock": -1}),
        Row(6, {"productId": "again", "unitPrice": 1, "stock": 1}, "a fault that the file shows"),
        Row(7, {"productId": "half", "name": "\ud800", "unitPrice": 1, "stock": 1}),
        Row(8, {"productId": "much", "unitPrice": float("inf"), "stock": 1}),
    ]

    report = load(api.client, rows, on_row_done=lambda: done.append(1))

    assert report.loaded == 1
    assert report.bad == {
        3: f"unitPrice is missing. It must be {RULES['unitPrice']}",
        5: "Payments hold some.",
        6: "a fault that the file shows",
        7: "a value cannot be encoded as JSON: half a surrogate pair, or infinity. Correct it",
        8: "a value cannot be encoded as JSON: half a surrogate pair, or infinity. Correct it",
    }
    assert set(api.products) == {"/v1/admin/products/tea"}
    assert len(done) == len(rows)


@pytest.mark.parametrize("product_id", ["-bad", "a/b", "..", "x" * 65, "té", "\ud800"])
def test_malformed_id_is_refused_and_not_sent(product_id: str) -> None:
    api = Api()

    report = load(api.client, [Row(1, {**GOOD, "productId": product_id})])

    assert report.bad[1].endswith(f" must be {RULES['productId']}")
    assert not api.products


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "productId is missing. "),
        ({"productId": None}, "productId is missing. "),
        ({"productId": ""}, "productId is missing. "),
        ({**GOOD, "productId": 17}, "productId: 17 is not a text. Put it in quotes"),
    ],
)
def test_missing_or_non_text_id_is_refused(values: dict[str, object], message: str) -> None:
    assert load(Api().client, [Row(1, values)]).bad[1].startswith(message)


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("name", " ", "name: ' ' must be one line"),
        ("name", "two\nlines", r"name: 'two\nlines' must be one line"),
        ("name", ["Tea"], 'name: ["Tea"] is not a text'),
        ("unitPrice", "12.5", "unitPrice: '12.5' must be a whole number from 1"),
        ("unitPrice", "450", "unitPrice: '450' is a text. Remove the quotes"),
        # Not "remove the quotes": a CSV cell of digits is text only if it is too long for a number.
        ("unitPrice", "9" * 19, f"unitPrice: '{'9' * 19}' must be a whole number from 1"),
        ("stock", -1, "stock: -1 must be a whole number from 0"),
        ("currency", "USD", "currency: 'USD' must be a lower-case ISO 4217 code"),
        ("currency", "", "currency is missing"),
        ("colour", "red", "'colour' is not a field of a product. Use productId, name"),
        ("name", "x" * 300, f"name: '{'x' * 39}… must be"),
    ],
)
def test_invalid_value_is_refused_with_one_explanation(column: str, value: object, shown: str) -> None:
    message = refusal_message(column, **{column: value})

    assert message.startswith(shown)
    assert "pattern" not in message
    assert ";" not in message


@pytest.mark.parametrize(
    ("price", "currency", "rule"),
    [
        (5124, "kwd", "multiple of 0.010 KWD"),
        (4010, "isk", "multiple of 1.00 ISK"),
        (100_000_000, "usd", "largest amount that can be charged is 999,999.99 USD"),
    ],
)
def test_refused_price_is_reported_with_the_rule_of_its_currency(price: int, currency: str, rule: str) -> None:
    message = refusal_message("unitPrice", unitPrice=price, currency=currency)

    assert message.startswith(f"unitPrice: {price} cannot be charged.")
    assert rule in message


def test_rules_in_the_messages_match_the_api() -> None:
    properties = DOCUMENT["components"]["schemas"]["ProductRequest"]["properties"]

    assert RULES.keys() == {"productId", *properties} == set(COLUMNS)
    assert f"1 to {properties['name']['maxLength']}" in RULES["name"]
    for column in ("unitPrice", "stock"):
        limits = properties[column]
        assert f"from {int(limits['minimum'])} to {int(limits['maximum']):,}" in RULES[column]


def test_loading_again_updates_a_product_and_keeps_its_stock() -> None:
    api = Api()
    load(api.client, [Row(1, GOOD)])
    api.products["/v1/admin/products/tea"]["stock"] = 0

    report = load(api.client, [Row(1, {**GOOD, "unitPrice": 500, "stock": 9})])

    assert (report.loaded, report.bad) == (1, {})
    assert api.products["/v1/admin/products/tea"] == {"name": "Tea", "unitPrice": 500, "currency": "usd", "stock": 0}


def test_stopped_load_sends_no_further_rows() -> None:
    api, answering = Api(), threading.Event()

    class StoppedRows(list[Row]):
        def __iter__(self) -> Iterator[Row]:
            yield from (Row(n, {**GOOD, "productId": f"p{n}"}) for n in range(5000))
            answering.set()
            raise KeyboardInterrupt

    def answer(request: httpx.Request) -> httpx.Response:
        answering.wait()
        return api.answer(request)

    with (
        httpx.Client(base_url="http://api/v1", transport=httpx.MockTransport(answer)) as client,
        pytest.raises(KeyboardInterrupt),
    ):
        load(client, StoppedRows())

    assert len(api.products) < 5000


def test_stock_is_set_on_request() -> None:
    api = Api()
    load(api.client, [Row(1, GOOD)])

    load(api.client, [Row(1, {**GOOD, "stock": 9})], set_stock=True)

    assert api.products["/v1/admin/products/tea"]["stock"] == 9


def test_loading_the_sample_twice_gives_the_same_result() -> None:
    api = Api()
    once = load(api.client, read(SAMPLE))
    products = dict(api.products)

    assert load(api.client, read(SAMPLE)) == once
    assert api.products == products
    assert once.loaded == len(products) > 5
