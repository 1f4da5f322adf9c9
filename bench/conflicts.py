"""What AWS's DynamoDB does and no emulator: it rejects what overlaps a transaction, rather than queue it.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html, "Transaction conflict handling"
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from bench.virtual_time import VirtualTime

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

ONE_WAY_SECONDS = 0.002
"""What a request takes to the item and its answer back: a read is answered in 4 ms, and so is a rejection."""

_WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem"})

Item = tuple[str, str]
Answer = tuple[Any, dict[str, Any]]


class Conflicts:
    """Lies between clients and an engine that queues, in virtual time: the engine's own speed does not count.

    A transaction has its items for `hold_seconds` from its arrival, also where a condition fails. Meanwhile another
    transaction on one of them, and a write of one, is rejected with the error that AWS gives it, and never reaches the
    engine. Reads pass: they are no transactions here. `hash_keys` names the key of each table; none has a sort key.
    """

    def __init__(self, time: VirtualTime, *, hold_seconds: float, hash_keys: Mapping[str, str]) -> None:
        self._time = time
        self._hold_seconds = hold_seconds
        self._hash_keys = hash_keys
        self._held_until: dict[Item, float] = {}
        self.transactions: Counter[str] = Counter()
        """How many arrived, and how many of them were `rejected` or `let in`."""

    def lie_before(self, client: "DynamoDBClient") -> None:
        """Take all requests of this client from now on."""
        client.meta.events.register("before-call.dynamodb", self._arrive)
        client.meta.events.register("after-call.dynamodb", self._leave)

    def _arrive(self, model: Any, params: Mapping[str, Any], context: dict[str, Any], **_: object) -> Any:
        self._time.sleep(ONE_WAY_SECONDS)
        context["seconds"] = 0.0
        request = json.loads(params["body"])
        if model.name == "TransactWriteItems":
            return self._begin([self._item_of(write) for write in _actions(request)], context)
        if model.name in _WRITES and self._is_held(self._item_of(request)):
            return _rejection("TransactionConflictException", message="Transaction is ongoing for the item")
        return None

    def _begin(self, items: list[Item], context: dict[str, Any]) -> Answer | None:
        reasons = [_CONFLICT if self._is_held(item) else _NONE for item in items]
        if _CONFLICT in reasons:
            self.transactions["rejected"] += 1
            codes = ", ".join(reason["Code"] for reason in reasons)
            return _rejection(
                "TransactionCanceledException",
                message=f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]",
                CancellationReasons=reasons,
            )
        self.transactions["let in"] += 1
        self._held_until.update(dict.fromkeys(items, self._time.monotonic() + self._hold_seconds))
        context["seconds"] = self._hold_seconds
        return None

    def _leave(self, context: Mapping[str, Any], **_: object) -> None:
        self._time.sleep(context["seconds"] + ONE_WAY_SECONDS)

    def _is_held(self, item: Item) -> bool:
        return self._held_until.get(item, 0) > self._time.monotonic()

    def _item_of(self, write: Mapping[str, Any]) -> Item:
        table = write["TableName"]
        (key,) = write.get("Key", write.get("Item"))[self._hash_keys[table]].values()
        return table, key


def _actions(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for entry in request["TransactItems"]:
        yield from entry.values()


_NONE = {"Code": "None"}
_CONFLICT = {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}


def _rejection(code: str, *, message: str, **more: Any) -> Answer:
    answer = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": 400, "RequestId": "conflict"},
        **more,
    }
    return SimpleNamespace(status_code=400), answer
