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
"""An item in DynamoDB JSON: `{"n": {"N": "1"}}`."""

WRITE_BYTES = 1024
READ_BYTES = 4096
TRANSACTION_FACTOR = 2
"""DynamoDB writes each item of a transaction twice, to prepare and to commit."""


@dataclass(frozen=True, slots=True)
class Index:
    """A global secondary index that projects only keys: its own and the table's."""

    name: str
    keys: tuple[str, ...]
    table_keys: tuple[str, ...]

    def entry(self, item: WireItem | None) -> WireItem | None:
        """Return the index entry of an item, or None if the item lacks a key of the index."""
        if item is None or not set(self.keys) <= item.keys():
            return None
        return {name: item[name] for name in (*self.keys, *self.table_keys)}


def item_bytes(item: WireItem) -> int:
    """Return the size of an item: the names and values of its attributes."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Mapping[str, Any]) -> int:
    kind: str
    held: Any
    ((kind, held),) = value.items()
    match kind:
        case "S":
            return len(str(held).encode())
        case "N":
            # About 1 byte per two significant digits and 1 byte, plus 1 byte for a negative sign.
            number = str(held)
            digits = number.lstrip("-").replace(".", "").strip("0")
            return ceil(len(digits) / 2) + 1 + number.startswith("-")
        case "BOOL" | "NULL":
            return 1
        case "M":
            return 3 + len(held) + item_bytes(held)
        case "L":
            return 3 + len(held) + sum(map(_value_bytes, held))
    raise ValueError(f"the size of a value of type {kind} is not implemented")


def read_units(found: Sequence[WireItem], *, consistent: bool) -> float:
    """Return the units of a `GetItem`, a `BatchGetItem` item, a `Query` or a `Scan`. An empty read is charged too."""
    whole = max(1, ceil(sum(map(item_bytes, found)) / READ_BYTES))
    return whole if consistent else whole / 2


def write_units(before: WireItem | None, after: WireItem | None, *, transacted: bool) -> int:
    """Return the units of a write, by the larger of the item before and after. A condition costs nothing extra."""
    largest = max(item_bytes(item) for item in (before, after, {}) if item is not None)
    return _units_of_size(largest) * (TRANSACTION_FACTOR if transacted else 1)


def index_write_units(index: Index, before: WireItem | None, after: WireItem | None) -> int:
    """Return the units that an index is charged for a write to the table.

    An index is charged only for changed entries: one added, one deleted, or both if its keys change. A transaction
    costs an index no more than any other write, because the index is updated after the commit. AWS does not document
    this; measurements against AWS: https://github.com/nubo-db/dynoxide/pull/188
    """
    old, new = index.entry(before), index.entry(after)
    if old == new:
        return 0
    return sum(_units_of_size(item_bytes(entry)) for entry in (old, new) if entry is not None)


def _units_of_size(size: int) -> int:
    return max(1, ceil(size / WRITE_BYTES))
