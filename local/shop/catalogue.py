"""Catalogues as files: what a file holds, or what is wrong with it and what to do about that."""

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
    """A product of a catalogue. `number` is its line in a CSV file, or its place in a JSON array, from 1.

    `fault` says what is wrong with it, where that can be seen without asking the API.
    """

    number: int
    values: Mapping[str, Any]
    fault: str | None = None


def read(path: Path) -> list[Row]:
    """Return the rows of a catalogue: a JSON array, or CSV with a header. Raises `CommandError` otherwise."""
    readers = {".json": _read_json, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    try:
        path.open("rb").close()
        if reader is None:
            raise CommandError(
                f"{path} is neither .json nor .csv, so nobody can tell what is in it. Name it after what it is."
            )
        rows = list(reader(path))
    except (FileNotFoundError, NotADirectoryError):
        raise CommandError(f"There is no file {path}. One to try, and to make your own from: {_SAMPLE_NAME}") from None
    except IsADirectoryError:
        raise CommandError(f"{path} is a directory. Name a file, .json or .csv: ls {path}") from None
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}. See who may: ls -l {path}") from error
    except UnicodeDecodeError:
        spreadsheets = ", which spreadsheets call CSV UTF-8" if reader is _read_csv else ""
        raise CommandError(f"{path} is no text in UTF-8. Save it as that{spreadsheets}.") from None
    except (ValueError, RecursionError, csv.Error) as error:
        kind = path.suffix.lower().removeprefix(".").upper()
        raise CommandError(f"{path} is no {kind}: {error}. Compare it with {_SAMPLE_NAME}.") from error
    if not rows:
        raise CommandError(f"{path} has no products. Put some in, like those of {_SAMPLE_NAME}.")
    return list(_with_repeated_ids_marked(rows))


class _Object(dict[str, Any]):
    """A JSON object, with the names that it has more than once: `json` keeps the last value and drops the others."""

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        super().__init__(members)
        self.repeated = [name for name, times in Counter(name for name, _ in members).items() if times > 1]


def _read_json(path: Path) -> Iterator[Row]:
    products = json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_refuse, object_pairs_hook=_Object)
    if not isinstance(products, list):
        raise CommandError(f"{path} is no array of products. It has to begin with [, as {_SAMPLE_NAME} does.")
    for number, product in enumerate(products, 1):
        if isinstance(product, _Object):
            fault = f"more than one {', '.join(map(repr, product.repeated))}. Keep one" if product.repeated else None
            yield Row(number, product, fault)
        else:
            yield Row(number, {}, f"not an object with {', '.join(COLUMNS)}")


def _refuse(constant: str) -> None:
    raise ValueError(f"it has {constant}, which JSON has no word for")


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, strict=True)
        if rows.fieldnames is not None:
            names = _without_blank_end(rows.fieldnames)
            _check_header(path, names)
            rows.fieldnames = names
        for values in rows:
            # A row with more fields than the header has them under None; one with fewer has None in them.
            too_many = _without_blank_end(values.pop(None, []))
            if not too_many and not any(value and value.strip() for value in values.values()):
                continue  # spreadsheets keep rows that were emptied
            # What is no whole number stays text, and the API says what is wrong with it.
            numbers = {name: int(values[name]) for name in _NUMBERS if WHOLE_NUMBER.fullmatch(values.get(name) or "")}
            named = {name: value for name, value in values.items() if value is not None}
            fault = None
            if too_many:
                fault = f"more than the {len(COLUMNS)} fields of the header. A text with a comma needs quotes around it"
            yield Row(rows.line_num, {**named, **numbers}, fault)


def _without_blank_end(cells: Sequence[str]) -> list[str]:
    """Return the cells up to the last one that is not blank: spreadsheets keep columns that were emptied."""
    end = max((number for number, cell in enumerate(cells, 1) if cell.strip()), default=0)
    return list(cells[:end])


def _check_header(path: Path, names: list[str]) -> None:
    if sorted(names) != sorted(COLUMNS):
        raise CommandError(
            f"{path}: its header is {','.join(names)[:200]!r}. Name these columns, separated by commas:"
            f" {','.join(COLUMNS)}"
        )


def _with_repeated_ids_marked(rows: Iterable[Row]) -> Iterator[Row]:
    """Of two rows of one product the first one counts: several are loaded at once, so the last one to arrive would."""
    first: dict[str, int] = {}
    for row in rows:
        product_id: Any = row.values.get("productId")
        has_id = isinstance(product_id, str) and product_id.strip() != ""
        if row.fault is None and has_id and product_id in first:
            yield Row(row.number, row.values, f"productId: {product_id!r} is the product of row {first[product_id]}")
        else:
            if has_id:
                first.setdefault(product_id, row.number)
            yield row
