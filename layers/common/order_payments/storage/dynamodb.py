"""Access to DynamoDB: plain Python values, AWS error codes as errors of this module, and transactions.

Requests are retried in two places. botocore retries throttled and lost requests a few times, with one
`ClientRequestToken`, so DynamoDB applies a retried transaction once. `write_transaction` retries conflicts with other
transactions, which botocore does not.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as SdkConnectionError

from order_payments.domain.errors import Busy
from order_payments.runtime.aws_clients import CallLimits, aws_client
from order_payments.runtime.clock import Deadline
from order_payments.runtime.metric_names import Count, Latency
from order_payments.runtime.observability import count, measure_latency
from order_payments.runtime.retry_budgets import retry_until

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

Item = dict[str, Any]
"""An item, or part of one, as plain Python values. Numbers that were read are `decimal.Decimal`."""

# Short, so that a function can still respond if DynamoDB does not.
DYNAMODB_LIMITS = CallLimits(connect_timeout_seconds=0.5, read_timeout_seconds=2.0, max_attempts=2)
DYNAMODB_CALL_SECONDS = DYNAMODB_LIMITS.longest_call_seconds
DYNAMODB_MAX_CONNECTIONS = 64

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
_THROTTLED_CODES = frozenset({"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"})
_RETRYABLE_CODES = _THROTTLED_CODES | {
    "InternalServerError",
    "LimitExceededException",
    "ServiceUnavailable",
    "TransactionInProgressException",
}
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html, "Cancellation reasons"
_THROTTLED_REASON_CODES = frozenset({"ProvisionedThroughputExceeded", "ThrottlingError"})
_CONFLICT_CODES = _THROTTLED_REASON_CODES | {"TransactionConflict"}


class _Deserializer(TypeDeserializer):
    """Reads every number that DynamoDB stores. boto3's raises for more than 38 digits, even if they are zeros."""

    def _deserialize_n(self, value: str) -> Decimal:
        return Decimal(value)


class _Serializer(TypeSerializer):
    """Writes a number exactly as it was read, for conditions on stored values."""

    def _serialize_n(self, value: Decimal | int) -> str:
        return str(value)


_serializer = _Serializer()
_deserializer = _Deserializer()


class ConditionFailed(Exception):
    """The condition of a write was not met. `old_item` is the stored item, or None if there is none."""

    def __init__(self, old_item: Item | None) -> None:
        super().__init__("the condition of a write was not met")
        self.old_item = old_item


class TransactionRefused(Exception):
    """Conditions of a transaction were not met, so nothing was written.

    `old_items` maps the position of each failed write to the stored item, or to None if there is none.
    """

    def __init__(self, old_items: Mapping[int, Item | None]) -> None:
        super().__init__(f"conditions of a transaction were not met, at positions {sorted(old_items)}")
        self.old_items = old_items


class TransactionConflict(Exception):
    """A transaction on the same item was in progress, so the write was not made. It can be retried."""


class WriteRejected(Exception):
    """DynamoDB rejected a write for a technical reason, such as a missing permission."""

    def __init__(self, code: str) -> None:
        super().__init__(f"DynamoDB rejected a write: {code}")


class WriteOutcomeUnknown(Exception):
    """A write was sent, and no response confirms or denies it. Read the item to find out."""


def dynamodb_client() -> "DynamoDBClient":
    """Return a client that gives up within `DYNAMODB_CALL_SECONDS` and rejects responses of other servers."""
    client: DynamoDBClient = aws_client(
        "dynamodb",
        DYNAMODB_LIMITS,
        tcp_keepalive=True,
        # The reconciler's threads share a client. By default, botocore keeps ten connections and drops the others.
        max_pool_connections=DYNAMODB_MAX_CONNECTIONS,
        # DynamoDB validates requests, and mypy checks the code. A third check would slow every request.
        parameter_validation=False,
    )
    client.meta.events.register("after-call.dynamodb", _check_response)
    return client


def _check_response(parsed: Mapping[str, Any], **_: object) -> None:
    """Reject a response of another server: botocore accepts any body with status 200, even a web page."""
    metadata = parsed["ResponseMetadata"]
    if metadata["HTTPStatusCode"] == 200 and "RequestId" not in metadata:
        raise HTTPClientError(error="the response is not from DynamoDB")


def to_wire(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert `{"n": 1}` to `{"n": {"N": "1"}}`."""
    return {name: _serializer.serialize(value) for name, value in values.items()}


def from_wire(values: Mapping[str, Any]) -> Item:
    """Convert `{"n": {"N": "1"}}` to `{"n": Decimal("1")}`."""
    return {name: _deserializer.deserialize(value) for name, value in values.items()}


@contextmanager
def translate_read_errors() -> Iterator[None]:
    """Raise `Busy` if DynamoDB is throttled, fails or does not respond to the block's read."""
    try:
        yield
    except ClientError as error:
        if isinstance(_write_error(error), WriteOutcomeUnknown):
            raise Busy("The database is busy. Try again.") from error
        raise
    except (SdkConnectionError, HTTPClientError) as error:
        raise Busy("The database does not respond. Try again.") from error


def batch_get(
    client: "DynamoDBClient", table_name: str, keys: "Sequence[Mapping[str, Any]]", *, deadline: Deadline
) -> list[Item]:
    """Read up to 100 items, strongly consistent. Returns those that exist, in any order. Raises `Busy`."""
    found: list[Item] = []
    wanted: Mapping[str, Any] = {table_name: {"Keys": keys, "ConsistentRead": True}}
    for _ in retry_until(deadline):
        with translate_read_errors():
            response = client.batch_get_item(RequestItems=wanted)
        found += map(from_wire, response["Responses"].get(table_name, []))
        wanted = response["UnprocessedKeys"]
        if not wanted:
            return found
        count(Count.THROTTLED)
    raise Busy("The database is busy. Try again.")


@contextmanager
def translate_write_errors() -> Iterator[None]:
    """Raise the outcome of a failed write of one item as an error of this module, and measure its latency.

    Raises `ConditionFailed`, `TransactionConflict`, `WriteOutcomeUnknown` or `WriteRejected`.
    """
    try:
        with measure_latency(Latency.DYNAMODB_WRITE):
            yield
    except ClientError as error:
        match _code(error):
            case "ConditionalCheckFailedException":
                # botocore's types lack the error's item.
                old_item: Any = error.response.get("Item")
                raise ConditionFailed(from_wire(old_item) if old_item else None) from error
            case "TransactionConflictException":
                raise TransactionConflict from error
        raise _write_error(error) from error
    except (SdkConnectionError, HTTPClientError) as error:
        raise WriteOutcomeUnknown from error


def write_transaction(
    client: "DynamoDBClient", writes: "Sequence[TransactWriteItemTypeDef]", *, deadline: Deadline
) -> None:
    """Write all of `writes` or none. Conflicts with other transactions are retried until `deadline`.

    Raises
    ------
    TransactionRefused
        A condition was not met. This takes precedence over a conflict in the same response.
    Busy
        Conflicts outlasted `deadline`. Nothing was written.
    WriteOutcomeUnknown
        DynamoDB did not respond, or reported throttling or a server error. The writes may have been made.
    WriteRejected
        DynamoDB rejected the transaction for a technical reason.
    """
    for _ in retry_until(deadline):
        try:
            with measure_latency(Latency.DYNAMODB_TRANSACTION):
                client.transact_write_items(TransactItems=writes)
        except ClientError as error:
            if _code(error) != "TransactionCanceledException":
                raise _write_error(error) from error
            reasons = error.response.get("CancellationReasons", [])
            failed = {
                position: from_wire(reason["Item"]) if reason.get("Item") else None
                for position, reason in enumerate(reasons)
                if reason["Code"] == "ConditionalCheckFailed"
            }
            if failed:
                raise TransactionRefused(failed) from error
            codes = {reason["Code"] for reason in reasons} - {"None"}
            if codes & _THROTTLED_REASON_CODES:
                count(Count.THROTTLED)
            if not codes or not codes <= _CONFLICT_CODES:
                raise WriteRejected(", ".join(sorted(codes))) from error
        except (SdkConnectionError, HTTPClientError) as error:
            raise WriteOutcomeUnknown from error
        else:
            return
    raise Busy("Too many concurrent writes to the same items. Try again.")


def _code(error: ClientError) -> str:
    return error.response["Error"]["Code"]


def _write_error(error: ClientError) -> Exception:
    """Return the error for a write that DynamoDB did not confirm.

    botocore has sent the write several times. If the last attempt was throttled or met a server error, an earlier one
    may still have succeeded.
    """
    if _code(error) in _THROTTLED_CODES:
        count(Count.THROTTLED)
    if _code(error) in _RETRYABLE_CODES or error.response["ResponseMetadata"].get("HTTPStatusCode", 0) >= 500:
        return WriteOutcomeUnknown()
    return WriteRejected(_code(error))
