"""Transaction conflicts as on AWS. DynamoDB rejects a write that overlaps a transaction, while emulators queue it.

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
"""Time of a request to the item, and of its response back. A read or a rejection takes 4 ms."""

_WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem"})

Item = tuple[str, str]
Response = tuple[Any, dict[str, Any]]


class Conflicts:
    """Rejects conflicting requests between clients and an engine that queues them, in virtual time.

    A transaction holds its items for `hold_seconds` from its arrival, even if a condition fails. Meanwhile, another
    transaction on one of them, or a write of one, gets AWS's error and never reaches the engine. Reads pass.
    `hash_keys` has the key of each table; no table has a sort key.
    """

    def __init__(self, time: VirtualTime, *, hold_seconds: float, hash_keys: Mapping[str, str]) -> None:
        self._time = time
        self._hold_seconds = hold_seconds
        self._hash_keys = hash_keys
        self._held_until: dict[Item, float] = {}
        self.transactions: Counter[str] = Counter()
        """Number of transactions that were `rejected` or `let in`."""

    def intercept(self, client: "DynamoDBClient") -> None:
        """Intercept all further requests of this client."""
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

    def _begin(self, items: list[Item], context: dict[str, Any]) -> Response | None:
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


def _rejection(code: str, *, message: str, **more: Any) -> Response:
    response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": 400, "RequestId": "conflict"},
        **more,
    }
    return SimpleNamespace(status_code=400), response
