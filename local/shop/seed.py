"""Loads a catalogue through the public API as an admin. Existing products keep their stock."""

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

_PARALLEL_REQUESTS = 8
_MAX_VALUE_CHARACTERS = 40

RULES: Mapping[str, str] = {
    "productId": "1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit",
    "name": "one line of 1 to 200 characters",
    "unitPrice": f"a whole number from 1 to {MAXIMUM_AMOUNT:,}, in the currency's smallest unit (4599 is 45.99 USD)",
    "currency": "a lower-case ISO 4217 code that Stripe supports, such as 'usd'",
    "stock": f"a whole number from 0 to {MAXIMUM_STOCK:,}",
}
"""The rule of each column. The API's messages are for programs and contain patterns."""


@dataclass(slots=True)
class Report:
    """Result of loading: the number of loaded products, and the error of each bad row by its number."""

    loaded: int = 0
    bad: dict[int, str] = field(default_factory=dict)


def load(
    api: httpx.Client, rows: list[Row], *, set_stock: bool = False, on_row_done: Callable[[], None] = lambda: None
) -> Report:
    """Put every product with an admin's client, and call `on_row_done` after each. The API validates the values.

    Unless `set_stock` is set, an existing product keeps its stock, so that a second load restores no sold units.
    """
    report = Report()

    def put(row: Row) -> str | None:
        reason = row.fault or _put(api, row, set_stock=set_stock)
        on_row_done()
        return reason

    with ThreadPoolExecutor(_PARALLEL_REQUESTS) as pool:
        try:
            for row, reason in zip(rows, pool.map(put, rows), strict=True):
                if reason is None:
                    report.loaded += 1
                else:
                    report.bad[row.number] = reason
        except BaseException:
            # Ctrl-C: send no further rows.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return report


def _put(api: httpx.Client, row: Row, *, set_stock: bool) -> str | None:
    body = dict(row.values)
    product_id = body.pop("productId", None)
    # Validated here, because the id is part of the path and an invalid one could change the route.
    if not isinstance(product_id, str) or not is_product_id(product_id):
        return _describe_fault("productId", row.values)
    path = f"/admin/products/{product_id}"
    try:
        # The API checks atomically whether the product is new.
        response = api.put(path, json=body, headers={} if set_stock else {"If-None-Match": "*"})
        if response.status_code == HTTPStatus.PRECONDITION_FAILED:
            response = api.put(path, json={name: value for name, value in body.items() if name != "stock"})
    except (ValueError, RecursionError):
        return "a value cannot be encoded as JSON: half a surrogate pair, or infinity. Correct it"
    if response.is_success:
        return None
    problem = response.json()
    # Report several errors of one value once.
    faults = dict.fromkeys(
        _describe_fault(str(fault["location"][-1]), row.values) for fault in problem.get("errors", ())
    )
    return "; ".join(faults) or str(problem["detail"])


def _describe_fault(column: str, values: Mapping[str, Any]) -> str:
    """Describe the error of a refused value."""
    if column not in RULES:
        return f"{column!r} is not a field of a product. Use {', '.join(COLUMNS)}"
    value = values.get(column)
    if value is None or value == "":
        return f"{column} is missing. It must be {RULES[column]}"
    if column in ("productId", "name", "currency") and not isinstance(value, str):
        return f"{column}: {_format_value(value)} is not a text. Put it in quotes"
    if column in ("unitPrice", "stock") and isinstance(value, str) and WHOLE_NUMBER.fullmatch(value):
        return f"{column}: {_format_value(value)} is a text. Remove the quotes"
    if column == "unitPrice" and (rule := _price_rule(value, values.get("currency"))):
        return f"{column}: {_format_value(value)} cannot be charged. {rule}"
    return f"{column}: {_format_value(value)} must be {RULES[column]}"


def _price_rule(price: object, currency: object) -> str | None:
    """Return the currency's rule that the price breaks, or `None` if the error is another one."""
    if type(price) is int and price > 0 and isinstance(currency, str) and is_currency(currency):
        return price_fault(price, currency)
    return None


def _format_value(value: Any) -> str:
    """Return the value as in the catalogue, shortened and without control characters."""
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _MAX_VALUE_CHARACTERS else f"{text[:_MAX_VALUE_CHARACTERS]}…"
