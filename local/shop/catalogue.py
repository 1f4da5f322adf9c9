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
CSV_SAMPLE = SAMPLE.with_suffix(".csv")
COLUMNS = ("productId", "name", "unitPrice", "currency", "stock")

_NUMBERS = ("unitPrice", "stock")
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Row:
    """A product of a catalogue. `number` is its first line in a CSV file or its one-based index in a JSON array.

    `fault` describes an error in the file itself, which needs no call to the API.
    """

    number: int
    values: Mapping[str, Any]
    fault: str | None = None


def read(path: Path) -> list[Row]:
    """Return the rows of a JSON array or of a CSV file with a header. Raises `CommandError` for any other file."""
    readers = {".json": _read_json, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    sample = f"local/shop/{(CSV_SAMPLE if reader is _read_csv else SAMPLE).name}"
    try:
        path.open("rb").close()
        if reader is None:
            raise CommandError(f"{path} is neither .json nor .csv. Give the file the extension of its format.")
        rows = list(reader(path))
    except (FileNotFoundError, NotADirectoryError):
        raise CommandError(f"{path} does not exist. Name a catalogue such as {sample}.") from None
    except IsADirectoryError:
        raise CommandError(f"{path} is a directory. Name a .json or .csv file in it: ls {path}") from None
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}. Check its permissions: ls -l {path}") from error
    except UnicodeDecodeError:
        spreadsheets = " (in spreadsheets: CSV UTF-8)" if reader is _read_csv else ""
        raise CommandError(f"{path} is not encoded in UTF-8. Save it as UTF-8{spreadsheets}.") from None
    except (ValueError, RecursionError, csv.Error) as error:
        kind = path.suffix.lower().removeprefix(".").upper()
        raise CommandError(f"{path} is not valid {kind}: {error}. Compare it with {sample}.") from error
    if not rows:
        raise CommandError(f"{path} has no products. Add some, as in {sample}.")
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
        raise CommandError(f"{path} is not an array of products. Begin it with [, as in local/shop/{SAMPLE.name}.")
    for number, product in enumerate(products, 1):
        if isinstance(product, _Object):
            fault = f"repeated {', '.join(map(repr, product.repeated))}. Keep one" if product.repeated else None
            yield Row(number, product, fault)
        else:
            yield Row(number, {}, f"not an object with {', '.join(COLUMNS)}")


def _reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON value")


def _read_csv(path: Path) -> Iterator[Row]:
    """Yield the rows. Spreadsheets also write semicolons, tabs, blanks around values, and currencies in capitals."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        separator = max(_SEPARATORS, key=file.readline().count)
        file.seek(0)
        rows = csv.reader(file, delimiter=separator, strict=True)
        names = _strip_blank_end(next(rows, COLUMNS))
        if sorted(names) != sorted(COLUMNS):
            raise CommandError(
                f"{path} has the header {separator.join(names)[:200]!r}. Use these columns, separated by commas,"
                f" semicolons or tabs: {','.join(COLUMNS)}"
            )
        while True:
            number = rows.line_num + 1  # `line_num` is the last line of a row with a quoted line break
            cells = next(rows, None)
            if cells is None:
                return
            if not _strip_blank_end(cells):
                continue  # spreadsheets keep emptied rows
            fault = None
            if len(_strip_blank_end(cells)) > len(names):
                mark = _SEPARATORS[separator]
                fault = f"more fields than the {len(names)} of the header. Put quotes around a text with a {mark}"
            yield Row(number, {name: _parse_cell(name, cell) for name, cell in zip(names, cells, strict=False)}, fault)


def _strip_blank_end(cells: Sequence[str]) -> list[str]:
    """Return the cells without blanks around them, up to the last that has text. Spreadsheets keep emptied columns."""
    end = max((number for number, cell in enumerate(cells, 1) if cell.strip()), default=0)
    return [cell.strip() for cell in cells[:end]]


def _parse_cell(column: str, cell: str) -> str | int:
    """Return the value as the API takes it. A number that is not whole stays text, and the API reports it."""
    text = cell.strip()
    if column in _NUMBERS and WHOLE_NUMBER.fullmatch(text):
        return int(text)
    return text.lower() if column == "currency" else text


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
