"""Recording of a function's DynamoDB requests, for replay without the function."""

import copy
import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore import xform_name
from botocore.model import OperationModel

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_IDS = re.compile(r"(?<![0-9A-Za-z])(?:ord_|att_|pi_|ch_|req_|idem#)[0-9A-Za-z]{14,}")


@dataclass(frozen=True, slots=True)
class Call:
    """A request: the client's method, and its parameters."""

    method: str
    parameters: Mapping[str, Any]


@contextmanager
def recording(client: "DynamoDBClient") -> Iterator[list[Call]]:
    """Record the requests of `client` within the block, with the parameters that botocore received."""
    calls: list[Call] = []

    def record(params: dict[str, Any], model: OperationModel, **_: object) -> None:
        calls.append(Call(xform_name(model.name), copy.deepcopy(params)))

    client.meta.events.register("provide-client-params.dynamodb", record)
    try:
        yield calls
    finally:
        client.meta.events.unregister("provide-client-params.dynamodb", record)


def rewrite_for_order(calls: Sequence[Call], order_id: str) -> list[Call]:
    """Return the same requests for another order. Every ID is replaced consistently by a new one of the same length."""
    text = json.dumps([call.parameters for call in calls])
    replaced = {found: _new_id(found, order_id) for found in set(_IDS.findall(text))}
    parameters = json.loads(_IDS.sub(lambda match: replaced[match[0]], text))
    return [Call(call.method, changed) for call, changed in zip(calls, parameters, strict=True)]


def _new_id(old: str, order_id: str) -> str:
    """Return a new ID in the format of `old`. The ID of an order is `order_id`."""
    if old.startswith("ord_"):
        return order_id
    start = re.match(r"[a-z]+[_#]", old)
    prefix = start[0] if start else ""
    return prefix + hashlib.sha256(uuid.uuid4().bytes).hexdigest()[: len(old) - len(prefix)]
