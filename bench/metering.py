"""What is asked of DynamoDB through a client, and the units that it costs: calculated, and as the engine reports it.

The DynamoDB Local that runs here reports the units of transactions wrongly (see `reported_locally`). So what counts is
the calculation, and the report is held against it, request by request: it shows that nothing was left out.
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
    """One request, with the units of AWS and with those that DynamoDB Local should report for it."""

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
    """The request that this thread has sent and not seen answered."""

    request: Request
    writes: Sequence[_Write] = ()


@dataclass(slots=True)
class Meter:
    """Watches a client. `eye` is another one, which looks at the items before and after they are written."""

    eye: "DynamoDBClient"
    tables: Mapping[str, Table]
    requests: list[Request] = field(default_factory=list)
    _under_way: _UnderWay = field(default_factory=_UnderWay)

    def before(self, params: dict[str, Any], model: OperationModel, **_: object) -> None:
        """Have the units reported, and look at what is going to be written."""
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
            request.expected_report += reported_locally(charges, transacted=transacted)

    def _charge_reads(self, request: Request, parsed: Mapping[str, Any]) -> None:
        match request.operation:
            case "GetItem":
                found = [parsed["Item"]] if "Item" in parsed else []
                request.read_units = read_units(found, consistent=True)
            case "BatchGetItem":
                items = [item for found in parsed["Responses"].values() for item in found]
                request.read_units = sum(read_units([item], consistent=True) for item in items)
            case "Query":
                # An index, which is never read consistently.
                request.read_units = read_units(parsed["Items"], consistent=False)
            case "Scan":
                request.read_units = read_units(parsed["Items"], consistent=True)
        found_nothing = request.operation == "Query" and not parsed["Items"]
        # An empty answer is reported as nothing, for which AWS charges the least.
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
        return self.eye.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")


def reported_locally(charges: Sequence[Charge], *, transacted: bool) -> float:
    """What DynamoDB Local says of writes that cost so much on AWS.

    Of a transaction it doubles the units of the tables twice, and those of the indexes, which AWS does not double; and
    writes of one table that cost the same it counts once.
    """
    if not transacted:
        return sum(charge.units + charge.index_units for charge in charges)
    distinct = {(charge.table, charge.units) for charge in charges}
    return 2 * sum(units for _, units in distinct) + 4 * sum(charge.index_units for charge in charges)


@contextmanager
def metering(client: "DynamoDBClient", eye: "DynamoDBClient") -> Iterator[Meter]:
    """Meter what is asked through `client` until the block is left."""
    meter = Meter(eye, {name: table_of(eye, name) for name in eye.list_tables()["TableNames"]})
    events = client.meta.events
    events.register("provide-client-params.dynamodb", meter.before)
    # Before the client's own handler, which may refuse the answer.
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
            raise ValueError(f"{index['IndexName']} holds more than keys: `Index` does not know what that costs")
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
