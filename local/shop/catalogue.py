"""Catalogue files: JSON and CSV readers with error messages for their authors."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command_line.errors import CommandError

SAMPLE = Path(__file__).with_name("catalogue.json")
COLUMNS = ("productId", "name", "unitPrice", "currency", "stock")

_NUMBERS = ("unitPrice", "stock")
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")
_SAMPLE_NAME = f"local/shop/{SAMPLE.name}"


@dataclass(frozen=True, slots=True)
class Row:
    """A product of a catalogue. `number` is its line in a CSV file or its one-based index in a JSON array.

    `fault` describes an error in the file itself, which needs no call to the API.
    """

    number: int
    values: Mapping[str, Any]
    fault: str | None = None


def read(path: Path) -> list[Row]:
    """Return the rows of a JSON array or of a CSV file with a header. Raises `CommandError` for any other file."""
    readers = {".json": _read_json, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    try:
        path.open("rb").close()
        if reader is None:
            raise CommandError(f"{path} is neither .json nor .csv. Give the file the extension of its format.")
        rows = list(reader(path))
    except (FileNotFoundError, NotADirectoryError):
        raise CommandError(f"{path} does not exist. Name a catalogue such as {_SAMPLE_NAME}.") from None
    except IsADirectoryError:
        raise CommandError(f"{path} is a directory. Name a .json or .csv file in it: ls {path}") from None
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}. Check its permissions: ls -l {path}") from error
    except UnicodeDecodeError:
        spreadsheets = " (in spreadsheets: CSV UTF-8)" if reader is _read_csv else ""
        raise CommandError(f"{path} is not encoded in UTF-8. Save it as UTF-8{spreadsheets}.") from None
    except (ValueError, RecursionError, csv.Error) as error:
        kind = path.suffix.lower().removeprefix(".").upper()
        raise CommandError(f"{path} is not valid {kind}: {error}. Compare it with {_SAMPLE_NAME}.") from error
    if not rows:
        raise CommandError(f"{path} has no products. Add some, as in {_SAMPLE_NAME}.")
    return list(_mark_repeated_ids(rows))


class _Object(dict[str, Any]):
    """A JSON object that records repeated names, because `json` keeps only the last value."""

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        super().__init__(members)
        self.repeated = [name for name, times in Counter(name for name, _ in members).items() if times > 1]


def _read_json(path: Path) -> Iterator[Row]:
    text = path.read_text(encoding="utf-8-sig")
    products = json.loads(text, parse_constant=_reject_constant, object_pairs_hook=_Object)
    if not isinstance(products, list):
        raise CommandError(f"{path} is not an array of products. Begin it with [, as in {_SAMPLE_NAME}.")
    for number, product in enumerate(products, 1):
        if isinstance(product, _Object):
            fault = f"repeated {', '.join(map(repr, product.repeated))}. Keep one" if product.repeated else None
            yield Row(number, product, fault)
        else:
            yield Row(number, {}, f"not an object with {', '.join(COLUMNS)}")


def _reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON value")


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, strict=True)
        if rows.fieldnames is not None:
            names = _strip_blank_end(rows.fieldnames)
            _check_header(path, names)
            rows.fieldnames = names
        for values in rows:
            # `csv` stores surplus fields under the key None, and None as the value of missing fields.
            surplus = _strip_blank_end(values.pop(None, []))
            if not surplus and not any(value and value.strip() for value in values.values()):
                continue  # spreadsheets keep emptied rows
            # Other values stay text, and the API reports them.
            numbers = {name: int(values[name]) for name in _NUMBERS if WHOLE_NUMBER.fullmatch(values.get(name) or "")}
            named = {name: value for name, value in values.items() if value is not None}
            fault = None
            if surplus:
                fault = f"more fields than the {len(COLUMNS)} of the header. Put quotes around a text with a comma"
            yield Row(rows.line_num, {**named, **numbers}, fault)


def _strip_blank_end(cells: Sequence[str]) -> list[str]:
    """Return the cells up to the last one that is not blank. Spreadsheets keep emptied columns."""
    end = max((number for number, cell in enumerate(cells, 1) if cell.strip()), default=0)
    return list(cells[:end])


def _check_header(path: Path, names: list[str]) -> None:
    if sorted(names) != sorted(COLUMNS):
        raise CommandError(
            f"{path} has the header {','.join(names)[:200]!r}. Use these columns, separated by commas:"
            f" {','.join(COLUMNS)}"
        )


def _mark_repeated_ids(rows: Iterable[Row]) -> Iterator[Row]:
    """Mark each row that repeats a product id. Rows load in parallel, so the last request would win at random."""
    first: dict[str, int] = {}
    for row in rows:
        product_id: Any = row.values.get("productId")
        has_id = isinstance(product_id, str) and product_id.strip() != ""
        if row.fault is None and has_id and product_id in first:
            yield Row(row.number, row.values, f"productId: {product_id!r} repeats row {first[product_id]}. Keep one")
        else:
            if has_id:
                first.setdefault(product_id, row.number)
            yield row
