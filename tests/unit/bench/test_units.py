"""DynamoDB's rules for item sizes and capacity units, as in its documentation."""

from typing import Any

import pytest

from bench.units import Index, WireItem, index_write_units, item_bytes, read_units, write_units

UNSETTLED = Index("unsettled", keys=("shard", "since"), table_keys=("id",))


def item_of(size: int, **more: dict[str, Any]) -> WireItem:
    """Return an item of `size` bytes."""
    item: dict[str, dict[str, Any]] = {"id": {"S": "1"}, "x": {"S": ""}, **more}
    item["x"] = {"S": "x" * (size - item_bytes(item))}
    assert item_bytes(item) == size
    return item


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"S": "tea"}, 3),
        ({"S": "茶"}, 3),
        ({"N": "0"}, 1),
        ({"N": "7"}, 2),
        ({"N": "4599"}, 3),
        ({"N": "45990000"}, 3),
        ({"N": "-45.99"}, 4),
        ({"NULL": True}, 1),
        ({"BOOL": False}, 1),
        ({"L": []}, 3),
        ({"L": [{"S": "ab"}, {"S": "c"}]}, 3 + 2 + 2 + 1),
        ({"M": {"ab": {"S": "c"}}}, 3 + 1 + 2 + 1),
    ],
)
def test_size_of_a_value(value: dict[str, Any], size: int) -> None:
    assert item_bytes({"name": value}) == len("name") + size


def test_value_of_an_unsupported_type_is_refused() -> None:
    with pytest.raises(ValueError, match="SS"):
        item_bytes({"tags": {"SS": ["a"]}})


@pytest.mark.parametrize(("size", "units"), [(100, 1), (1024, 1), (1025, 2), (3000, 3)])
def test_write_is_charged_per_kilobyte_and_twice_in_a_transaction(size: int, units: int) -> None:
    assert write_units(None, item_of(size), transacted=False) == units
    assert write_units(None, item_of(size), transacted=True) == 2 * units


def test_write_is_charged_by_the_larger_of_old_and_new_item() -> None:
    assert write_units(item_of(3000), item_of(100), transacted=False) == 3
    assert write_units(item_of(100), item_of(3000), transacted=False) == 3
    assert write_units(item_of(3000), None, transacted=False) == 3


def test_write_without_an_item_is_charged() -> None:
    assert write_units(None, None, transacted=False) == 1


@pytest.mark.parametrize(("sizes", "units"), [([], 1), ([100], 1), ([4096], 1), ([4097], 2), ([2000, 2000, 2000], 2)])
def test_read_is_charged_per_four_kilobytes_of_its_result(sizes: list[int], units: int) -> None:
    found = [item_of(size) for size in sizes]
    assert read_units(found, consistent=True) == units
    assert read_units(found, consistent=False) == units / 2


INDEXED = item_of(100, shard={"S": "3"}, since={"S": "now"})
LATER = item_of(100, shard={"S": "3"}, since={"S": "then"})
LARGER = item_of(900, shard={"S": "3"}, since={"S": "now"})
NOT_INDEXED = item_of(100)
WITH_PART_OF_KEY = item_of(100, shard={"S": "3"})


@pytest.mark.parametrize(
    ("before", "after", "units"),
    [
        pytest.param(NOT_INDEXED, INDEXED, 1, id="enters"),
        pytest.param(INDEXED, NOT_INDEXED, 1, id="leaves"),
        pytest.param(INDEXED, None, 1, id="is deleted"),
        pytest.param(INDEXED, LATER, 2, id="moves"),
        pytest.param(INDEXED, LARGER, 0, id="changes elsewhere"),
        pytest.param(NOT_INDEXED, WITH_PART_OF_KEY, 0, id="lacks a key"),
    ],
)
def test_index_is_charged_only_for_changed_entries(before: WireItem, after: WireItem | None, units: int) -> None:
    assert index_write_units(UNSETTLED, before, after) == units
