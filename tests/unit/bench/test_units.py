"""DynamoDB's rules for sizes and units, by the examples and the words of its documentation."""

from typing import Any

import pytest

from bench.units import Index, WireItem, index_write_units, item_bytes, read_units, write_units

UNSETTLED = Index("unsettled", keys=("shard", "since"), table_keys=("id",))


def item_of(size: int, **more: dict[str, Any]) -> WireItem:
    """An item of so many bytes."""
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
def test_the_size_of_a_value(value: dict[str, Any], size: int) -> None:
    assert item_bytes({"name": value}) == len("name") + size


def test_a_value_whose_size_is_not_known_is_not_guessed() -> None:
    with pytest.raises(ValueError, match="SS"):
        item_bytes({"tags": {"SS": ["a"]}})


@pytest.mark.parametrize(("size", "units"), [(100, 1), (1024, 1), (1025, 2), (3000, 3)])
def test_a_write_is_charged_by_the_kilobyte_and_twice_in_a_transaction(size: int, units: int) -> None:
    assert write_units(None, item_of(size), transacted=False) == units
    assert write_units(None, item_of(size), transacted=True) == 2 * units


def test_a_write_is_charged_by_the_larger_of_what_was_and_what_is() -> None:
    assert write_units(item_of(3000), item_of(100), transacted=False) == 3
    assert write_units(item_of(100), item_of(3000), transacted=False) == 3
    assert write_units(item_of(3000), None, transacted=False) == 3


def test_a_write_that_finds_nothing_and_leaves_nothing_is_charged() -> None:
    assert write_units(None, None, transacted=False) == 1


@pytest.mark.parametrize(("sizes", "units"), [([], 1), ([100], 1), ([4096], 1), ([4097], 2), ([2000, 2000, 2000], 2)])
def test_a_read_is_charged_by_four_kilobytes_of_all_it_finds(sizes: list[int], units: int) -> None:
    found = [item_of(size) for size in sizes]
    assert read_units(found, consistent=True) == units
    assert read_units(found, consistent=False) == units / 2


IN_IT = item_of(100, shard={"S": "3"}, since={"S": "now"})
LATER = item_of(100, shard={"S": "3"}, since={"S": "then"})
LARGER_AS_EVER = item_of(900, shard={"S": "3"}, since={"S": "now"})
NOT_IN_IT = item_of(100)
WITH_HALF_A_KEY = item_of(100, shard={"S": "3"})


@pytest.mark.parametrize(
    ("before", "after", "units"),
    [
        pytest.param(NOT_IN_IT, IN_IT, 1, id="enters"),
        pytest.param(IN_IT, NOT_IN_IT, 1, id="leaves"),
        pytest.param(IN_IT, None, 1, id="is deleted"),
        pytest.param(IN_IT, LATER, 2, id="moves"),
        pytest.param(IN_IT, LARGER_AS_EVER, 0, id="changes elsewhere"),
        pytest.param(NOT_IN_IT, WITH_HALF_A_KEY, 0, id="lacks a key"),
    ],
)
def test_an_index_is_charged_for_what_changes_in_it(before: WireItem, after: WireItem | None, units: int) -> None:
    assert index_write_units(UNSETTLED, before, after) == units
