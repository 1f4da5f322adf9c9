"""Store of the dummy's state in a DynamoDB table, which several processes can share.

The table has the string hash key `id` and time-to-live on `expiresAt`. Its items:

- `pi_…`: `version` (N) and `body` (S), the intent with its charges as JSON
- `idem#SHA-256 of the key`: `owner`, `endpoint`, `fingerprint` (S), `claimedUntil`, `expiresAt` (N, Unix seconds) and,
  after the response, `answer` (S, the response as JSON)

A call makes three requests: it claims its key, reads the intent, and writes the intent and the response in one
transaction, so that a crash cannot leave an effect without its response.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from dummy_stripe.objects import Intent
from dummy_stripe.responses import Reply, Response
from dummy_stripe.stores import ClaimLost, IdempotencyRecord, StoreUnavailable, ledger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, PutTypeDef, TransactWriteItemTypeDef

    from dummy_stripe.objects import Charge

_CONDITION_FAILED = "ConditionalCheckFailed"
_CONFLICT = "TransactionConflict"
_REFUSED_CONDITIONS = frozenset(
    {"ConditionalCheckFailedException", "TransactionCanceledException", "TransactionConflictException"}
)


class DynamoDBStore:
    """A `Store` in the table `table_name`. `client` is a low-level boto3 client.

    Needs `dynamodb:GetItem`, `PutItem`, `DeleteItem` and `Scan` on the table.
    """

    def __init__(self, client: DynamoDBClient, table_name: str) -> None:
        self._client = client
        self._table = table_name

    def intent(self, intent_id: str) -> Intent | None:
        item = self._read(intent_id)
        return _intent(item) if item else None

    def _read(self, item_id: str) -> Mapping[str, Any] | None:
        with _translate_errors():
            found = self._client.get_item(TableName=self._table, Key={"id": {"S": item_id}}, ConsistentRead=True)
        return found.get("Item")

    def intents(self) -> list[Intent]:
        pages = self._client.get_paginator("scan").paginate(
            TableName=self._table,
            ConsistentRead=True,
            FilterExpression="begins_with(id, :intent)",
            ExpressionAttributeValues={":intent": {"S": "pi_"}},
        )
        with _translate_errors():
            return [_intent(item) for page in pages for item in page["Items"]]

    def charges(self) -> list[Charge]:
        return ledger(self.intents())

    def write(self, intent: Intent, record: IdempotencyRecord | None) -> bool:
        put: PutTypeDef = {
            "TableName": self._table,
            "Item": {
                "id": {"S": intent.id},
                "version": {"N": str(intent.version)},
                "body": {"S": intent.to_json()},
            },
            "ConditionExpression": "attribute_not_exists(id)",
        }
        if intent.version > 1:
            # If two calls read the same intent, only one can write it. Confirm and cancel therefore exclude each other,
            # and two confirmations charge once.
            put["ConditionExpression"] = "version = :read"
            put["ExpressionAttributeValues"] = {":read": {"N": str(intent.version - 1)}}
        writes: list[TransactWriteItemTypeDef] = [{"Put": put}]
        if record is not None:
            writes.append({"Put": self._put_while_owned(record)})
        # Use a transaction even for the intent alone: botocore gives it a token, so a retry after a lost response
        # succeeds. A plain conditional write would find the version already taken.
        try:
            with _translate_errors():
                self._client.transact_write_items(TransactItems=writes)
        except ClientError as error:
            reasons = [reason.get("Code") for reason in error.response.get("CancellationReasons", [])]
            if _CONDITION_FAILED in reasons[1:]:
                raise ClaimLost from error
            if _CONDITION_FAILED in reasons or _CONFLICT in reasons:
                return False
            raise StoreUnavailable from error
        return True

    def claim(self, record: IdempotencyRecord, now: float) -> IdempotencyRecord | None:
        try:
            with _translate_errors():
                self._client.put_item(
                    TableName=self._table,
                    Item=_record_item(record),
                    # Lets one request per key run, as `can_be_taken` does. The owner is compared because botocore
                    # retries the write after a lost response.
                    ConditionExpression=(
                        "attribute_not_exists(id) OR #owner = :me OR expiresAt < :now OR "
                        "(attribute_not_exists(answer) AND claimedUntil < :now AND fingerprint = :same)"
                    ),
                    ExpressionAttributeNames={"#owner": "owner"},
                    ExpressionAttributeValues={
                        ":me": {"S": record.owner},
                        ":now": {"N": str(now)},
                        ":same": {"S": record.fingerprint},
                    },
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
        except ClientError as error:
            if _code(error) == "TransactionConflictException":  # the key's holder is saving its response
                raise ClaimLost from error
            earlier = cast("Mapping[str, Any]", error.response).get("Item") or self._read(_record_id(record.key))
            if earlier is None:  # it expired or was released in between
                raise ClaimLost from error
            return _record(record.key, earlier)
        return None

    def finish(self, record: IdempotencyRecord) -> None:
        try:
            with _translate_errors():
                self._client.put_item(**self._put_while_owned(record))
        except ClientError as error:
            raise ClaimLost from error

    def release(self, record: IdempotencyRecord) -> None:
        with suppress(ClientError), _translate_errors():
            self._client.delete_item(
                TableName=self._table,
                Key={"id": {"S": _record_id(record.key)}},
                ConditionExpression="#owner = :me",
                ExpressionAttributeNames={"#owner": "owner"},
                ExpressionAttributeValues={":me": {"S": record.owner}},
            )

    def _put_while_owned(self, record: IdempotencyRecord) -> PutTypeDef:
        # Stops a request whose claim has expired from writing after another request took the key over.
        return {
            "TableName": self._table,
            "Item": _record_item(record),
            "ConditionExpression": "#owner = :me",
            "ExpressionAttributeNames": {"#owner": "owner"},
            "ExpressionAttributeValues": {":me": {"S": record.owner}},
        }


def _record_id(key: str) -> str:
    # Hashed because a caller's key can be longer than a DynamoDB key.
    return f"idem#{hashlib.sha256(key.encode()).hexdigest()}"


def _record_item(record: IdempotencyRecord) -> dict[str, AttributeValueTypeDef]:
    item: dict[str, AttributeValueTypeDef] = {
        "id": {"S": _record_id(record.key)},
        "owner": {"S": record.owner},
        "endpoint": {"S": record.endpoint},
        "fingerprint": {"S": record.fingerprint},
        "claimedUntil": {"N": str(record.claimed_until)},
        "expiresAt": {"N": str(int(record.expires_at))},  # time to live needs whole seconds
    }
    if record.response is not None:
        # Without absent values, the previous release can read it.
        present = {name: value for name, value in asdict(record.response).items() if value is not None}
        item["answer"] = {"S": json.dumps(present)}
    return item


def _record(key: str, item: Mapping[str, Any]) -> IdempotencyRecord:
    return IdempotencyRecord(
        key=key,
        owner=item["owner"]["S"],
        endpoint=item["endpoint"]["S"],
        fingerprint=item["fingerprint"]["S"],
        claimed_until=float(item["claimedUntil"]["N"]),
        expires_at=float(item["expiresAt"]["N"]),
        response=_response(item["answer"]["S"]) if "answer" in item else None,
    )


def _response(text: str) -> Response:
    values: dict[str, Any] = json.loads(text)
    return Response(**{**values, "reply": Reply(values["reply"])})


def _intent(item: Mapping[str, Any]) -> Intent:
    return Intent.from_json(item["body"]["S"])


def _code(error: ClientError) -> str:
    return error.response["Error"]["Code"]


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Raise `StoreUnavailable` for any error except a failed condition."""
    try:
        yield
    except ClientError as error:
        if _code(error) not in _REFUSED_CONDITIONS:
            raise StoreUnavailable from error
        raise
    except BotoCoreError as error:
        raise StoreUnavailable from error
