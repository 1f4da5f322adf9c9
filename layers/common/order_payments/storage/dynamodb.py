"""DynamoDB as the tables use it: plain values in and out, AWS error codes turned into errors of ours, and transactions.

A request is repeated in two places. botocore repeats what is throttled or lost, a few times and with one
`ClientRequestToken`, so that DynamoDB applies a repeated transaction once. `write_transaction` repeats what another
transaction got in the way of, which botocore does not.
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
"""An item, or part of one, in plain Python values; numbers are `decimal.Decimal` when read."""

# Short, so that a request can still be answered if DynamoDB does not respond.
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
    """Writes a number as it was read, for conditions on what is stored."""

    def _serialize_n(self, value: Decimal | int) -> str:
        return str(value)


_serializer = _Serializer()
_deserializer = _Deserializer()


class ConditionFailed(Exception):
    """A condition did not hold. `old_item` is the item that it was tried on, or None where there is none."""

    def __init__(self, old_item: Item | None) -> None:
        super().__init__("the condition of a write did not hold")
        self.old_item = old_item


class TransactionRefused(Exception):
    """Conditions of a transaction did not hold, so none of it was written.

    `old_items` maps the position of each failed one to the item that it was tried on, or None where there is none.
    """

    def __init__(self, old_items: Mapping[int, Item | None]) -> None:
        super().__init__(f"the conditions of a transaction did not hold at {sorted(old_items)}")
        self.old_items = old_items


class TransactionConflict(Exception):
    """A transaction was under way on the item, so the write was not made. It can be tried again."""


class WriteRejected(Exception):
    """DynamoDB will not make this write, and it is no matter of the domain: a right is missing, say."""

    def __init__(self, code: str) -> None:
        super().__init__(f"DynamoDB rejected a write: {code}")


class WriteOutcomeUnknown(Exception):
    """A write was sent and no answer told whether it was made. Reading does."""


def dynamodb_client() -> "DynamoDBClient":
    """Return a client that gives up within `DYNAMODB_CALL_SECONDS` and rejects responses that are not DynamoDB's."""
    client: DynamoDBClient = aws_client(
        "dynamodb",
        DYNAMODB_LIMITS,
        tcp_keepalive=True,
        # The threads of the reconciler share a client. botocore would keep ten connections and drop the others.
        max_pool_connections=DYNAMODB_MAX_CONNECTIONS,
        # DynamoDB checks what it is sent, and mypy what we send: a third check takes time with every request.
        parameter_validation=False,
    )
    client.meta.events.register("after-call.dynamodb", _check_answer)
    return client


def _check_answer(parsed: Mapping[str, Any], **_: object) -> None:
    """Refuse what DynamoDB cannot have said: botocore takes any body under a 200 for a success, a web page, too."""
    metadata = parsed["ResponseMetadata"]
    if metadata["HTTPStatusCode"] == 200 and "RequestId" not in metadata:
        raise HTTPClientError(error="an answer that is not DynamoDB's")


def to_wire(values: Mapping[str, Any]) -> dict[str, Any]:
    """`{"n": 1}` as `{"n": {"N": "1"}}`."""
    return {name: _serializer.serialize(value) for name, value in values.items()}


def from_wire(values: Mapping[str, Any]) -> Item:
    """`{"n": {"N": "1"}}` as `{"n": Decimal("1")}`."""
    return {name: _deserializer.deserialize(value) for name, value in values.items()}


@contextmanager
def translate_read_errors() -> Iterator[None]:
    """Around a read: what DynamoDB cannot answer now is `Busy`."""
    try:
        yield
    except ClientError as error:
        if isinstance(_write_error(error), WriteOutcomeUnknown):
            raise Busy("The database is busy.") from error
        raise
    except (SdkConnectionError, HTTPClientError) as error:
        raise Busy("The database does not answer.") from error


def batch_get(
    client: "DynamoDBClient", table_name: str, keys: "Sequence[Mapping[str, Any]]", *, deadline: Deadline
) -> list[Item]:
    """Those of up to 100 items that exist, strongly consistent and in any order. Raises `Busy`."""
    found: list[Item] = []
    wanted: Mapping[str, Any] = {table_name: {"Keys": keys, "ConsistentRead": True}}
    for _ in retry_until(deadline):
        with translate_read_errors():
            answer = client.batch_get_item(RequestItems=wanted)
        found += map(from_wire, answer["Responses"].get(table_name, []))
        wanted = answer["UnprocessedKeys"]
        if not wanted:
            return found
        count(Count.THROTTLED)
    raise Busy("The database is busy.")


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
                # Of the item on the error, botocore's types know nothing.
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
    """Write all of `writes` or none. A conflict with another transaction is tried again until `deadline`.

    Raises
    ------
    TransactionRefused
        Some condition does not hold. That is a business answer, whatever else was in the way.
    Busy
        Conflicts outlasted `deadline`; nothing was written.
    WriteOutcomeUnknown
        No answer came, or none but that DynamoDB is throttled or at fault: it may have been written.
    WriteRejected
        DynamoDB will not write this.
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
    raise Busy("Too many others write the same items.")


def _code(error: ClientError) -> str:
    return error.response["Error"]["Code"]


def _write_error(error: ClientError) -> Exception:
    """Return the error for a write that DynamoDB did not accept.

    botocore has sent it several times by then. That the last one was throttled, or met a fault of DynamoDB's, says
    nothing of the first.
    """
    if _code(error) in _THROTTLED_CODES:
        count(Count.THROTTLED)
    if _code(error) in _RETRYABLE_CODES or error.response["ResponseMetadata"].get("HTTPStatusCode", 0) >= 500:
        return WriteOutcomeUnknown()
    return WriteRejected(_code(error))
