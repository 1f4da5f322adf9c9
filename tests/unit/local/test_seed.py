"""Catalogues as files: what is read from them, and what of it is loaded."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.errors import StackError
from local.seed import SAMPLE, Row, load, read

HEADER = "productId,name,unitPrice,currency,stock\n"


def written(directory: Path, name: str, content: str) -> Path:
    path = directory / name
    path.write_text(content)
    return path


class Api:
    """Takes products, but for those without a price."""

    def __init__(self) -> None:
        self.products: dict[str, Any] = {}
        self.client = httpx.Client(base_url="http://api/v1", transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if "unitPrice" not in body:
            fault = {"location": ["body", "unitPrice"], "message": "Field required"}
            return httpx.Response(422, json={"detail": "Bad form.", "code": "validation_error", "errors": [fault]})
        if body["stock"] < 0:
            return httpx.Response(409, json={"detail": "Payments hold some.", "code": "stock_below_reserved"})
        self.products[request.url.raw_path.decode()] = body
        return httpx.Response(200, json=body)


def test_a_json_array_is_numbered_by_place(tmp_path: Path) -> None:
    path = written(tmp_path, "c.json", '[{"productId": "tea", "stock": 1}, 7]')

    assert read(path) == [Row(1, {"productId": "tea", "stock": 1}), Row(2, {"": 7})]


def test_csv_is_numbered_by_line_and_its_numbers_are_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, "c.csv", HEADER + 'tea,"Green, fresh",4599,usd,10\n\nmug,Mug,12.5,usd,\n')

    assert read(path) == [
        Row(2, {"productId": "tea", "name": "Green, fresh", "unitPrice": 4599, "currency": "usd", "stock": 10}),
        Row(4, {"productId": "mug", "name": "Mug", "unitPrice": "12.5", "currency": "usd", "stock": ""}),
    ]


def test_a_csv_line_of_another_length_is_a_row_that_the_api_will_refuse(tmp_path: Path) -> None:
    long, short = read(written(tmp_path, "c.csv", HEADER + "tea,Tea,1,usd,2,extra\nmug,Mug\n"))

    assert long.values["more than the header"] == ["extra"]
    assert short.values == {"productId": "mug", "name": "Mug"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.json", "{"),
        ("c.json", '{"a": 1}'),
        ("c.json", '[{"stock": NaN}]'),
        ("c.json", "[" * 100_000),
        ("c.yaml", "[]"),
        ("c.csv", "\0"),
    ],
)
def test_what_is_no_catalogue_is_refused_in_words(tmp_path: Path, name: str, content: str) -> None:
    path = written(tmp_path, name, content)

    if content == "\0":
        assert read(path) == []
    else:
        with pytest.raises(StackError, match=r"c\.(json|yaml)"):
            read(path)


def test_a_file_that_is_no_text_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_bytes(b"productId\n\xff\n")

    with pytest.raises(StackError):
        read(path)


def test_bad_rows_are_told_by_number_and_the_others_loaded() -> None:
    api, done = Api(), []
    rows = [
        Row(2, {"productId": "tea", "unitPrice": 1, "stock": 1}),
        Row(3, {"productId": "mug", "stock": 1}),
        Row(4, {"unitPrice": 1, "stock": 1}),
        Row(5, {"productId": "held", "unitPrice": 1, "stock": -1}),
        Row(6, {"productId": "a/b", "unitPrice": 1, "stock": 1}),
        Row(7, {"productId": "\ud800", "unitPrice": 1, "stock": 1}),
    ]

    report = load(api.client, rows, done=lambda: done.append(1))

    assert report.loaded == 2
    assert report.bad == {
        3: "unitPrice: Field required",
        4: "productId: missing",
        5: "Payments hold some.",
        7: "a text has characters that are none (lone surrogates)",
    }
    assert set(api.products) == {"/v1/admin/products/tea", "/v1/admin/products/a%2Fb"}
    assert len(done) == len(rows)


def test_a_catalogue_is_loaded_twice_with_the_same_end() -> None:
    api = Api()
    once = load(api.client, read(SAMPLE))
    products = dict(api.products)

    assert load(api.client, read(SAMPLE)) == once
    assert api.products == products
    assert once.loaded == len(products) > 5
