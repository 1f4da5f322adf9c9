"""Meter of a client's DynamoDB requests and their capacity units, both calculated and as the engine reports them.

DynamoDB Local reports the units of transactions wrongly (see `expected_local_report`), so the calculated units count.
Comparing them with the report for each request shows that no unit is missing.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.model import OperationModel

from bench.units import Index, WireItem, index_write_units, read_units, write_units

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    keys: tuple[str, ...]
    indexes: tuple[Index, ...]


@dataclass(slots=True)
class Request:
    """A request, with its units on AWS and the units that DynamoDB Local is expected to report."""

    operation: str
    tables: frozenset[str]
    read_units: float = 0
    write_units: float = 0
    index_write_units: float = 0
    expected_report: float = 0
    reported: float = 0


@dataclass(frozen=True, slots=True)
class Charge:
    table: str
    units: int
    index_units: int


@dataclass(frozen=True, slots=True)
class _Write:
    table: Table
    key: WireItem
    before: WireItem | None


class _UnderWay(threading.local):
    """The request of this thread that is waiting for its response."""

    request: Request
    writes: Sequence[_Write] = ()


@dataclass(slots=True)
class Meter:
    """Meters a client. `observer` is another client, which reads the items before and after each write."""

    observer: "DynamoDBClient"
    tables: Mapping[str, Table]
    requests: list[Request] = field(default_factory=list)
    _under_way: _UnderWay = field(default_factory=_UnderWay)

    def before(self, params: dict[str, Any], model: OperationModel, **_: object) -> None:
        """Request a capacity report, and read the items that the request will write."""
        params["ReturnConsumedCapacity"] = "TOTAL"
        self._under_way.writes = [
            _Write(self.tables[name], key, self._item(name, key))
            for name, key in self._keys_written(model.name, params)
        ]
        self._under_way.request = Request(model.name, frozenset(_tables_of(params)))
        self.requests.append(self._under_way.request)

    def after(self, parsed: Mapping[str, Any], **_: object) -> None:
        request = self._under_way.request
        request.reported = sum(entry["CapacityUnits"] for entry in _several(parsed.get("ConsumedCapacity")))
        self._charge_reads(request, parsed)
        transacted = request.operation == "TransactWriteItems"
        refused = "Error" in parsed
        charges: list[Charge] = []
        for write in self._under_way.writes:
            now = self._item(write.table.name, write.key)
            units = write_units(write.before, now, transacted=transacted)
            in_indexes = sum(index_write_units(index, write.before, now) for index in write.table.indexes)
            charges.append(Charge(write.table.name, units, in_indexes))
        request.write_units = sum(charge.units for charge in charges)
        request.index_write_units = sum(charge.index_units for charge in charges)
        if not refused:
            request.expected_report += expected_local_report(charges, transacted=transacted)

    def _charge_reads(self, request: Request, parsed: Mapping[str, Any]) -> None:
        match request.operation:
            case "GetItem":
                found = [parsed["Item"]] if "Item" in parsed else []
                request.read_units = read_units(found, consistent=True)
            case "BatchGetItem":
                items = [item for found in parsed["Responses"].values() for item in found]
                request.read_units = sum(read_units([item], consistent=True) for item in items)
            case "Query":
                # A query of an index, whose reads are never strongly consistent.
                request.read_units = read_units(parsed["Items"], consistent=False)
            case "Scan":
                request.read_units = read_units(parsed["Items"], consistent=True)
        found_nothing = request.operation == "Query" and not parsed["Items"]
        # DynamoDB Local reports no units for an empty result, for which AWS charges the minimum.
        request.expected_report += 0 if found_nothing else request.read_units

    def _keys_written(self, operation: str, params: Mapping[str, Any]) -> Iterator[tuple[str, WireItem]]:
        match operation:
            case "PutItem" | "UpdateItem" | "DeleteItem":
                writes: Sequence[Mapping[str, Any]] = [params]
            case "TransactWriteItems":
                writes = [write for item in params["TransactItems"] for write in item.values()]
            case _:
                writes = []
        for write in writes:
            name = write["TableName"]
            held = write.get("Key") or write["Item"]
            yield name, {key: held[key] for key in self.tables[name].keys}

    def _item(self, table: str, key: WireItem) -> WireItem | None:
        return self.observer.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")


def expected_local_report(charges: Sequence[Charge], *, transacted: bool) -> float:
    """Return the units that DynamoDB Local reports for writes with these charges on AWS.

    For a transaction it doubles the units of tables twice and those of indexes, which AWS does not double. It counts
    writes with the same cost in one table only once.
    """
    if not transacted:
        return sum(charge.units + charge.index_units for charge in charges)
    distinct = {(charge.table, charge.units) for charge in charges}
    return 2 * sum(units for _, units in distinct) + 4 * sum(charge.index_units for charge in charges)


@contextmanager
def metering(client: "DynamoDBClient", observer: "DynamoDBClient") -> Iterator[Meter]:
    """Meter the requests of `client` within the block."""
    meter = Meter(observer, {name: table_of(observer, name) for name in observer.list_tables()["TableNames"]})
    events = client.meta.events
    events.register("provide-client-params.dynamodb", meter.before)
    # Before the client's own handler, which may raise.
    events.register_first("after-call.dynamodb", meter.after)
    try:
        yield meter
    finally:
        events.unregister("provide-client-params.dynamodb", meter.before)
        events.unregister("after-call.dynamodb", meter.after)


def table_of(client: "DynamoDBClient", name: str) -> Table:
    description = client.describe_table(TableName=name)["Table"]
    keys = tuple(key["AttributeName"] for key in description["KeySchema"])
    indexes = []
    for index in description.get("GlobalSecondaryIndexes", []):
        if index["Projection"]["ProjectionType"] != "KEYS_ONLY":
            raise ValueError(f"{index['IndexName']} projects more than keys: `Index` cannot calculate its cost")
        indexes.append(Index(index["IndexName"], tuple(key["AttributeName"] for key in index["KeySchema"]), keys))
    return Table(name, keys, tuple(indexes))


def _tables_of(params: Mapping[str, Any]) -> Iterator[str]:
    if "TableName" in params:
        yield params["TableName"]
    yield from params.get("RequestItems", ())
    for item in params.get("TransactItems", ()):
        yield from (write["TableName"] for write in item.values())


def _several(report: Any) -> list[Mapping[str, Any]]:
    if report is None:
        return []
    return report if isinstance(report, list) else [report]
