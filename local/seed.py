"""Catalogues, loaded through the public API as any admin would."""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from local.errors import StackError

SAMPLE = Path(__file__).with_name("catalogue.json")

_AT_ONCE = 8
_NUMBERS = ("unitPrice", "stock")


@dataclass(frozen=True, slots=True)
class Row:
    """A product of a catalogue. `number` is its line in a CSV file, or its place in a JSON array, from 1."""

    number: int
    values: Mapping[str, Any]


@dataclass(slots=True)
class Report:
    """What became of a catalogue: how many products were put, and why the others were not, by the row's number."""

    loaded: int = 0
    bad: dict[int, str] = field(default_factory=dict)


def read(path: Path) -> list[Row]:
    """The rows of a catalogue: a JSON array of objects, or CSV with a header. Raises `StackError` for another file.

    The columns are those of a product: `productId`, `name`, `unitPrice`, `currency`, `stock`.
    """
    try:
        match path.suffix.lower():
            case ".json":
                return list(_read_json(path))
            case ".csv":
                return list(_read_csv(path))
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise StackError(f"{path} cannot be read: {error}") from error
    raise StackError(f"{path} is neither .json nor .csv, so nobody can tell what is in it. Name it after what it is.")


def _read_json(path: Path) -> Iterator[Row]:
    products = json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_refuse)
    if not isinstance(products, list):
        raise ValueError("a catalogue is an array of products")  # noqa: TRY004 - wrong content, like any other
    for number, product in enumerate(products, 1):
        yield Row(number, product if isinstance(product, dict) else {"": product})


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        for values in rows:
            # What is no whole number stays text, and the API says what is wrong with it.
            numbers = {
                name: int(values[name]) for name in _NUMBERS if re.fullmatch(r"-?\d{1,18}", values.get(name) or "")
            }
            # A row with more fields than the header has them under None; one with fewer has None in them.
            named = {name or "more than the header": value for name, value in values.items() if value is not None}
            yield Row(rows.line_num, {**named, **numbers})


def load(api: httpx.Client, rows: list[Row], done: Callable[[], None] = lambda: None) -> Report:
    """Put every product, with an admin's client, and call `done` after each. The API judges the rows, not we.

    Loading a catalogue again changes nothing, but for what was sold or restocked in between.
    """
    report = Report()

    def put(row: Row) -> str | None:
        reason = _put(api, row)
        done()
        return reason

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for row, reason in zip(rows, pool.map(put, rows), strict=True):
            if reason is None:
                report.loaded += 1
            else:
                report.bad[row.number] = reason
    return report


def _put(api: httpx.Client, row: Row) -> str | None:
    """Put one product. Returns why it was refused, if it was."""
    body = dict(row.values)
    product_id = body.pop("productId", None)
    if not isinstance(product_id, str) or not product_id:
        return "productId: missing"
    try:
        answer = api.put(f"/admin/products/{quote(product_id, safe='')}", json=body)
    except UnicodeEncodeError:
        return "a text has characters that are none (lone surrogates)"
    if answer.is_success:
        return None
    problem = answer.json()
    faults = [f"{fault['location'][-1]}: {fault['message']}" for fault in problem.get("errors", ())]
    return "; ".join(faults) or str(problem["detail"])
