"""Read and write units by DynamoDB's published rules, calculated from items.

Sizes: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
Units: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
Indexes: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html#GSI.ThroughputConsiderations.Writes
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

WireItem = Mapping[str, Mapping[str, Any]]
"""An item as it travels: `{"n": {"N": "1"}}`."""

WRITE_BYTES = 1024
READ_BYTES = 4096
TRANSACTED = 2
"""DynamoDB writes an item of a transaction twice: to prepare it, and to commit it."""


@dataclass(frozen=True, slots=True)
class Index:
    """A global secondary index that holds keys alone: its own, and the table's."""

    name: str
    keys: tuple[str, ...]
    table_keys: tuple[str, ...]

    def entry(self, item: WireItem | None) -> WireItem | None:
        """What it holds of an item, or None of one that lacks a key of it."""
        if item is None or not set(self.keys) <= item.keys():
            return None
        return {name: item[name] for name in (*self.keys, *self.table_keys)}


def item_bytes(item: WireItem) -> int:
    """The size of an item: of its attributes' names and values."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Mapping[str, Any]) -> int:
    kind: str
    held: Any
    ((kind, held),) = value.items()
    match kind:
        case "S":
            return len(str(held).encode())
        case "N":
            # "Approximately 1 byte for each two significant digits, and 1 byte"; and one for the sign.
            number = str(held)
            digits = number.lstrip("-").replace(".", "").strip("0")
            return ceil(len(digits) / 2) + 1 + number.startswith("-")
        case "BOOL" | "NULL":
            return 1
        case "M":
            return 3 + len(held) + item_bytes(held)
        case "L":
            return 3 + len(held) + sum(map(_value_bytes, held))
    raise ValueError(f"no table of ours holds a value of type {kind}")


def read_units(found: Sequence[WireItem], *, consistent: bool) -> float:
    """Of one read: `GetItem`, an item of `BatchGetItem`, `Query` or `Scan`. What finds nothing costs the least."""
    whole = max(1, ceil(sum(map(item_bytes, found)) / READ_BYTES))
    return whole if consistent else whole / 2


def write_units(before: WireItem | None, after: WireItem | None, *, transacted: bool) -> int:
    """Of one write, by the larger of what was there and what is; a condition costs nothing more."""
    largest = max(item_bytes(item) for item in (before, after, {}) if item is not None)
    return _written(largest) * (TRANSACTED if transacted else 1)


def index_write_units(index: Index, before: WireItem | None, after: WireItem | None) -> int:
    """What an index is charged for a write of the table.

    Only for what changes in it: a new entry, one that goes, or both where its keys change. An index follows the table
    when the write is done, so that a transaction costs it no more than any other write. The documentation leaves that
    open; against AWS it was measured: https://github.com/nubo-db/dynoxide/pull/188
    """
    old, new = index.entry(before), index.entry(after)
    if old == new:
        return 0
    return sum(_written(item_bytes(entry)) for entry in (old, new) if entry is not None)


def _written(size: int) -> int:
    return max(1, ceil(size / WRITE_BYTES))
