"""Keys of the orders table's sharded indexes."""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

PLACED_SHARDS = tuple(f"placed-{number}" for number in range(10))
"""Partition keys of the index `by-placed`. Each takes 1,000 new orders per second, and a page queries all."""


class PlacedKey(NamedTuple):
    """Position of an order among all orders. Keys sort by time, and orders of the same millisecond by id."""

    created_at: str
    order_id: str

    @classmethod
    def parse(cls, text: str) -> "PlacedKey":
        """Read the index's sort key."""
        created_at, _, order_id = text.partition("#")
        return cls(created_at, order_id)

    def __str__(self) -> str:
        """Return the index's sort key, which sorts as the tuple does because times have a fixed width."""
        return f"{self.created_at}#{self.order_id}"

    def to_item(self) -> dict[str, str]:
        """Return the attributes that put the order into the index. They never change."""
        return {"placedShard": choose_shard(self.order_id, PLACED_SHARDS), "placedKey": str(self)}


def choose_shard(order_id: str, shards: Sequence[str]) -> str:
    """Return the order's shard, which is always the same."""
    return shards[zlib.crc32(order_id.encode()) % len(shards)]
