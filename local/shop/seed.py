"""Catalogues, loaded through the public API as any admin would; the stock of existing products stays."""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx

from local.shop.catalogue import COLUMNS, WHOLE_NUMBER, Row
from order_payments.domain.money import MAXIMUM_AMOUNT, is_currency, price_fault
from order_payments.domain.products import MAXIMUM_STOCK, is_product_id

_AT_ONCE = 8
_LONGEST_SHOWN = 40

RULES: Mapping[str, str] = {
    "productId": "1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit",
    "name": "a text of one line, with 1 to 200 characters",
    "unitPrice": f"a whole number from 1 to {MAXIMUM_AMOUNT:,}, in the currency's smallest unit (4599 is 45.99 USD)",
    "currency": "a lower-case ISO 4217 code that Stripe charges in, like 'usd'",
    "stock": f"a whole number from 0 to {MAXIMUM_STOCK:,}",
}
"""What each column has to be, in words: the API's own are for programs, with patterns in them."""


@dataclass(slots=True)
class Report:
    """What became of a catalogue: how many products were put, and why the others were not, by the row's number."""

    loaded: int = 0
    bad: dict[int, str] = field(default_factory=dict)


def load(
    api: httpx.Client, rows: list[Row], *, set_stock: bool = False, done: Callable[[], None] = lambda: None
) -> Report:
    """Put every product, with an admin's client, and call `done` after each. The API judges the values, not we.

    An existing product keeps its stock, so that loading a catalogue again puts no sold units back, unless `set_stock`.
    """
    report = Report()

    def put(row: Row) -> str | None:
        reason = row.fault or _put(api, row, set_stock=set_stock)
        done()
        return reason

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for row, reason in zip(rows, pool.map(put, rows), strict=True):
            if reason is None:
                report.loaded += 1
            else:
                report.bad[row.number] = reason
    return report


def _put(api: httpx.Client, row: Row, *, set_stock: bool) -> str | None:
    body = dict(row.values)
    product_id = body.pop("productId", None)
    # Here and not by the API, for it is part of the address: one of another form would not arrive as what it is.
    if not isinstance(product_id, str) or not is_product_id(product_id):
        return _fault("productId", row.values)
    path = f"/admin/products/{product_id}"
    try:
        # The API decides whether the product is new, so that no product is created or sold in between.
        answer = api.put(path, json=body, headers={} if set_stock else {"If-None-Match": "*"})
        if answer.status_code == HTTPStatus.PRECONDITION_FAILED:
            answer = api.put(path, json={name: value for name, value in body.items() if name != "stock"})
    except (ValueError, RecursionError):
        return "it has a text or a number that JSON cannot carry: half a character, or infinity"
    if answer.is_success:
        return None
    problem = answer.json()
    # Several faults of one value are one to whoever has to correct it.
    faults = dict.fromkeys(_fault(str(fault["location"][-1]), row.values) for fault in problem.get("errors", ()))
    return "; ".join(faults) or str(problem["detail"])


def _fault(column: str, values: Mapping[str, Any]) -> str:
    """What is wrong with a value that was refused."""
    if column not in RULES:
        return f"{column!r}: no product has that, but {', '.join(COLUMNS)}"
    value = values.get(column)
    if value is None or value == "":
        return f"{column}: missing. It has to be {RULES[column]}"
    if column in ("productId", "name", "currency") and not isinstance(value, str):
        return f"{column}: {_shown(value)} is no text. Put it in quotes"
    if column in ("unitPrice", "stock") and isinstance(value, str) and WHOLE_NUMBER.fullmatch(value):
        return f"{column}: {_shown(value)} is a text. Take the quotes off"
    if column == "unitPrice" and (rule := _price_rule(value, values.get("currency"))):
        return f"{column}: {_shown(value)} cannot be charged. {rule}"
    return f"{column}: {_shown(value)} has to be {RULES[column]}"


def _price_rule(price: object, currency: object) -> str | None:
    """Return the currency's own rule that a whole positive price breaks, if it is that which is wrong."""
    if type(price) is int and price > 0 and isinstance(currency, str) and is_currency(currency):
        return price_fault(price, currency)
    return None


def _shown(value: Any) -> str:
    """The value as it stands in a catalogue, without what would break the line or the terminal."""
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
