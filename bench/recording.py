"""The requests that a function makes of DynamoDB, written down, to be made again without the function."""

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
    """A request: botocore's method for it, and its parameters."""

    method: str
    parameters: Mapping[str, Any]


@contextmanager
def recording(client: "DynamoDBClient") -> Iterator[list[Call]]:
    """Write down what is asked through `client`, as it is handed to botocore, until the block is left."""
    made: list[Call] = []

    def write_down(params: dict[str, Any], model: OperationModel, **_: object) -> None:
        made.append(Call(xform_name(model.name), copy.deepcopy(params)))

    client.meta.events.register("provide-client-params.dynamodb", write_down)
    try:
        yield made
    finally:
        client.meta.events.unregister("provide-client-params.dynamodb", write_down)


def about(calls: Sequence[Call], order_id: str) -> list[Call]:
    """The same requests about another order: every id in them is a new one of the same length, in the same places."""
    text = json.dumps([call.parameters for call in calls])
    replaced = {found: _fresh(found, order_id) for found in set(_IDS.findall(text))}
    parameters = json.loads(_IDS.sub(lambda match: replaced[match[0]], text))
    return [Call(call.method, changed) for call, changed in zip(calls, parameters, strict=True)]


def _fresh(old: str, order_id: str) -> str:
    """An id like `old`; of an order, there is one."""
    if old.startswith("ord_"):
        return order_id
    start = re.match(r"[a-z]+[_#]", old)
    prefix = start[0] if start else ""
    return prefix + hashlib.sha256(uuid.uuid4().bytes).hexdigest()[: len(old) - len(prefix)]
