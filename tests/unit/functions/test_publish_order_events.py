"""Publishing the orders table's stream: order, retries and dead letters."""

import io
import json
from collections.abc import Iterator
from contextlib import closing
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from jsonschema import Draft202012Validator, FormatChecker

from delivery import event_schemas
from harness.functions import Context, load_function
from order_payments.events.dead_letters import MAXIMUM_MESSAGE_BYTES, DeadLetterQueue
from order_payments.events.event_bus import EventBus, events_client
from tests.support.moto import aws_on_moto
from tests.support.order_stream import (
    Record,
    cancellation,
    change,
    claim,
    confirm,
    confirmation,
    creation,
    malformed_record,
    place,
    record,
    sequence_number,
)

SCHEMA = Draft202012Validator(json.loads(event_schemas.ORDER.read_text()), format_checker=FormatChecker())
BUS = "order-events"


class Listener:
    """A rule on the bus with a queue as its target."""

    def __init__(self) -> None:
        self._sqs = boto3.client("sqs")
        self._url = self._sqs.create_queue(QueueName="listener")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        with closing(boto3.client("events")) as events:
            events.create_event_bus(Name=BUS)
            events.put_rule(Name="all", EventBusName=BUS, EventPattern='{"source":["order-payments"]}')
            events.put_targets(Rule="all", EventBusName=BUS, Targets=[{"Id": "queue", "Arn": arn}])

    def receive(self) -> list[dict[str, Any]]:
        """Return and remove the events in the queue, in order."""
        events: list[dict[str, Any]] = []
        while messages := self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                events.append(json.loads(message["Body"]))
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return events

    def receive_ids(self) -> list[str]:
        """Return the ids of the events in the queue, and remove them."""
        return [event["detail"]["eventId"] for event in self.receive()]


class DeadLetterReceiver:
    """A receiver of the dead-letter queue."""

    def __init__(self) -> None:
        self._sqs = boto3.client("sqs")
        self.url = self._sqs.create_queue(QueueName="dead-letters")["QueueUrl"]

    def receive(self) -> list[dict[str, Any]]:
        """Return up to ten messages of the queue."""
        messages = self._sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(message["Body"]) for message in messages]


@pytest.fixture
def listener() -> Iterator[Listener]:
    with aws_on_moto():
        yield Listener()


@pytest.fixture
def dead_letters(listener: Listener) -> DeadLetterReceiver:  # noqa: ARG001 - starts the AWS mock
    return DeadLetterReceiver()


@pytest.fixture
def function(dead_letters: DeadLetterReceiver, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("ORDER_EVENTS_DEAD_LETTERS", dead_letters.url)
    return load_function("publish_order_events")


class ThrottlingBus:
    """EventBridge that throttles the events of some orders, a given number of times each."""

    def __init__(self, refused: dict[str, int]) -> None:
        self.client = events_client()
        self.refused = refused
        self.requests: list[int] = []

    def put_events(self, *, Entries: list[Any]) -> Any:  # noqa: N803 - boto3's
        self.requests.append(len(Entries))
        responses: list[dict[str, str]] = []
        for entry in Entries:
            order = json.loads(entry["Detail"])["order"]["orderId"]
            if self.refused.get(order, 0) > 0:
                self.refused[order] -= 1
                responses.append({"ErrorCode": "ThrottlingException", "ErrorMessage": "Rate exceeded"})
            else:
                responses += self.client.put_events(Entries=[entry])["Entries"]
        return {"FailedEntryCount": sum("ErrorCode" in response for response in responses), "Entries": responses}


class RejectingBus:
    """EventBridge that always rejects the events of some orders, by entry or by request."""

    def __init__(
        self, rejected: set[str], *, request_code: str | None = None, entry_code: str = "MalformedDetail"
    ) -> None:
        self.client = events_client()
        self.rejected = rejected
        self.request_code = request_code
        self.entry_code = entry_code

    def put_events(self, *, Entries: list[Any]) -> Any:  # noqa: N803 - boto3's
        bad = [json.loads(entry["Detail"])["order"]["orderId"] in self.rejected for entry in Entries]
        if self.request_code and any(bad):
            raise ClientError({"Error": {"Code": self.request_code}}, "PutEvents")
        error = {"ErrorCode": self.entry_code, "ErrorMessage": "The event is not valid."}
        responses = [
            error if is_bad else self.client.put_events(Entries=[entry])["Entries"][0]
            for entry, is_bad in zip(Entries, bad, strict=True)
        ]
        return {"FailedEntryCount": sum(bad), "Entries": responses}


class FailingService:
    """EventBridge or SQS during an outage, or without permission."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def put_events(self, **_: Any) -> Any:
        raise self.error

    send_message = put_events


def handle(function: ModuleType, *records: Record, seconds: float = 40) -> Any:
    return function.handler({"Records": list(records)}, Context(seconds))


def use_bus(function: ModuleType, monkeypatch: pytest.MonkeyPatch, client: Any) -> None:
    monkeypatch.setattr(function, "bus", EventBus(client, BUS))


def failed_items(response: Any) -> list[str]:
    return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]


def test_event_is_published_when_an_order_is_placed_and_settled(function: ModuleType, listener: Listener) -> None:
    paid, declined = place(), place()

    response = handle(function, creation(paid), creation(declined), confirmation(paid), cancellation(declined))

    assert response == {"batchItemFailures": []}
    events = listener.receive()
    assert [(event["detail-type"], event["detail"]["eventId"]) for event in events] == [
        ("order.created", f"{paid.order_id}.pending"),
        ("order.created", f"{declined.order_id}.pending"),
        ("order.confirmed", f"{paid.order_id}.confirmed"),
        ("order.cancelled", f"{declined.order_id}.cancelled"),
    ]
    for event in events:
        assert event["source"] == "order-payments"
        SCHEMA.validate(event["detail"])
    assert events[2]["detail"] == {
        "version": 1,
        "eventId": f"{paid.order_id}.confirmed",
        "occurredAt": "2026-11-23T05:50:22.090Z",
        "correlationId": "of-the-payment",
        "order": {
            "orderId": paid.order_id,
            "status": "confirmed",
            "totalAmount": 9198,
            "currency": "usd",
            "paymentMethod": "stripe-dummy",
            "buyerId": "alice",
            "paymentIntentId": "pi_1",
            "reason": None,
            "createdAt": "2026-11-23T05:50:20.090Z",
            "updatedAt": "2026-11-23T05:50:22.090Z",
            "expiresAt": "2026-11-26T05:50:20.090Z",
            "items": [{"productId": "green-tea", "name": "Green tea", "quantity": 2, "unitPrice": 4599}],
        },
    }
    assert events[3]["detail"]["order"]["reason"]["declineCode"] == "generic_decline"


def test_unreadable_record_is_a_dead_letter_and_blocks_no_others(
    function: ModuleType, listener: Listener, dead_letters: DeadLetterReceiver
) -> None:
    first, second, bad = place(), place(), malformed_record()

    response = handle(function, bad, creation(first), creation(second), confirmation(first))

    assert failed_items(response) == []
    assert listener.receive_ids() == [
        f"{first.order_id}.pending",
        f"{second.order_id}.pending",
        f"{first.order_id}.confirmed",
    ]
    (letter,) = dead_letters.receive()
    assert letter["sequenceNumber"] == sequence_number(bad)
    assert letter["record"] == bad


def test_dead_letter_of_a_record_too_large_for_sqs_has_only_its_ids(
    function: ModuleType, dead_letters: DeadLetterReceiver
) -> None:
    large = malformed_record()
    large["dynamodb"]["NewImage"]["note"] = {"S": "x" * MAXIMUM_MESSAGE_BYTES}

    handle(function, large)

    (letter,) = dead_letters.receive()
    assert letter["sequenceNumber"] == sequence_number(large)
    assert "record" not in letter


def test_failed_dead_letter_is_retried_with_all_later_records(
    function: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, bad = place(), malformed_record()
    refused = ClientError({"Error": {"Code": "AccessDenied"}}, "SendMessage")
    monkeypatch.setattr(function, "dead_letters", DeadLetterQueue("https://queue.example", FailingService(refused)))

    assert failed_items(handle(function, creation(first), bad, confirmation(first))) == [sequence_number(bad)]
    with pytest.raises(function.NothingPublished, match=sequence_number(bad)):
        handle(function, bad, confirmation(first))


def test_records_behind_a_failed_dead_letter_are_published_once(
    function: ModuleType, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, bad = place(), place(), malformed_record()
    down = EndpointConnectionError(endpoint_url="https://queue.example")
    with monkeypatch.context() as patched:
        patched.setattr(function, "dead_letters", DeadLetterQueue("https://queue.example", FailingService(down)))
        handle(function, creation(first), bad, creation(second))
        with pytest.raises(function.NothingPublished):
            handle(function, bad, creation(second))
    assert listener.receive_ids() == [f"{first.order_id}.pending"]

    assert failed_items(handle(function, bad, creation(second))) == []
    assert listener.receive_ids() == [f"{second.order_id}.pending"]


def test_dead_letter_is_not_sent_if_the_function_could_time_out(
    function: ModuleType, dead_letters: DeadLetterReceiver
) -> None:
    with pytest.raises(function.NothingPublished):
        handle(function, malformed_record(), seconds=10)

    assert dead_letters.receive() == []


def test_unreadable_record_behind_a_throttled_event_waits_for_it(
    function: ModuleType, dead_letters: DeadLetterReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = place()
    use_bus(function, monkeypatch, ThrottlingBus({refused.order_id: 1_000}))
    records = [creation(place()), creation(refused), malformed_record()]

    response = handle(function, *records, seconds=17.1)

    assert failed_items(response) == [sequence_number(records[1])]
    assert dead_letters.receive() == []


@pytest.mark.parametrize(
    "invalid",
    [
        record(confirm(placed_order := place()), change(placed_order, status="cancelled")),
        record(confirm(placed_order), placed_order),
        record(None, placed_order, status={"S": "shipped"}),
        record(None, placed_order, createdAt={"S": "yesterday"}),
        record(None, placed_order, items={"S": "none"}),
        record(None, placed_order, totalAmount={"S": "much"}),
        record(None, placed_order, paymentMethod={"X": "?"}),
    ],
    ids=["settled twice", "back to pending", "status", "time", "lines", "amount", "type"],
)
def test_invalid_order_record_is_a_dead_letter_and_not_published(
    function: ModuleType, listener: Listener, dead_letters: DeadLetterReceiver, invalid: Record, log_output: io.StringIO
) -> None:
    handle(function, invalid)

    assert listener.receive_ids() == []
    assert [letter["orderId"] for letter in dead_letters.receive()] == [placed_order.order_id]
    line = json.loads(log_output.getvalue().splitlines()[0])
    assert (line["level"], line["message"]) == ("ERROR", "stream record unreadable")
    assert (line["orderId"], line["sequenceNumber"]) == (placed_order.order_id, sequence_number(invalid))
    assert "alice" not in json.dumps(line)


def test_only_throttled_events_are_sent_again(
    function: ModuleType, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = [place() for _ in range(4)]
    bus = ThrottlingBus({orders[1].order_id: 2, orders[3].order_id: 1})
    use_bus(function, monkeypatch, bus)

    response = handle(function, *map(creation, orders))

    assert response == {"batchItemFailures": []}
    assert bus.requests == [4, 2, 1]
    assert sorted(listener.receive_ids()) == sorted(f"{order.order_id}.pending" for order in orders)


def test_later_events_of_an_order_wait_for_its_throttled_event(
    function: ModuleType, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, other = place(), place()
    use_bus(function, monkeypatch, ThrottlingBus({refused.order_id: 1000}))
    records = [creation(other), creation(refused), confirmation(refused), confirmation(other)]

    response = handle(function, *records, seconds=17.1)

    assert failed_items(response) == [sequence_number(records[1])]
    assert listener.receive_ids() == [f"{other.order_id}.pending"]
    # Lambda retries from the first failed record.
    use_bus(function, monkeypatch, events_client())
    assert handle(function, *records[1:]) == {"batchItemFailures": []}
    assert listener.receive_ids() == [
        f"{refused.order_id}.pending",
        f"{refused.order_id}.confirmed",
        f"{other.order_id}.confirmed",
    ]


def test_first_failed_record_is_right_after_records_without_events(
    function: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, refused = place(), place()
    use_bus(function, monkeypatch, ThrottlingBus({refused.order_id: 1000}))
    records = [record(order, claim(order)), creation(order), record(order, claim(order)), creation(refused)]

    response = handle(function, *records, seconds=17.1)

    assert failed_items(response) == [sequence_number(records[3])]


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "PutEvents"),
        EndpointConnectionError(endpoint_url="https://events.example"),
    ],
    ids=["denied", "down"],
)
def test_batch_fails_if_eventbridge_is_down_or_denies_access(
    function: ModuleType, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    use_bus(function, monkeypatch, FailingService(error))

    with pytest.raises(function.NothingPublished):
        handle(function, creation(place()))


def test_request_is_not_sent_if_the_function_could_time_out(function: ModuleType, listener: Listener) -> None:
    with pytest.raises(function.NothingPublished):
        handle(function, creation(place()), seconds=10)

    assert listener.receive_ids() == []


def test_large_batch_is_published_completely(function: ModuleType, listener: Listener) -> None:
    orders = [place() for _ in range(15)]

    response = handle(function, *map(creation, orders), *map(confirmation, orders))

    assert response == {"batchItemFailures": []}
    ids = listener.receive_ids()
    assert ids == [f"{order.order_id}.pending" for order in orders] + [
        f"{order.order_id}.confirmed" for order in orders
    ]


def test_published_event_is_logged_with_its_ids_but_not_the_buyer(
    function: ModuleType, log_output: io.StringIO
) -> None:
    order = place(buyer="buyer@example.com")

    handle(function, confirmation(order))

    (line,) = map(json.loads, log_output.getvalue().splitlines())
    assert (
        line.items()
        >= {
            "message": "event published",
            "event": "order.confirmed",
            "eventId": f"{order.order_id}.confirmed",
            "orderId": order.order_id,
            "correlationId": "of-the-payment",
        }.items()
    )
    assert "buyer@example.com" not in log_output.getvalue()


def test_event_too_large_for_eventbridge_is_a_dead_letter(
    function: ModuleType, listener: Listener, dead_letters: DeadLetterReceiver, log_output: io.StringIO
) -> None:
    large, other = place(lines=100, name=2_000 * "\x01"), place()
    records = [creation(other), creation(large), confirmation(other)]

    assert handle(function, *records) == {"batchItemFailures": []}

    assert listener.receive_ids() == [f"{other.order_id}.pending", f"{other.order_id}.confirmed"]
    (letter,) = dead_letters.receive()
    assert letter == {"orderId": large.order_id, "sequenceNumber": sequence_number(records[1])}
    (line,) = [line for line in map(json.loads, log_output.getvalue().splitlines()) if line["level"] == "ERROR"]
    assert (line["message"], line["eventId"]) == ("order event rejected", f"{large.order_id}.pending")
    assert line["bytes"] > 1024 * 1024


def test_large_event_is_published_in_its_own_request(function: ModuleType, listener: Listener) -> None:
    large, others = place(lines=100, name=3_000 * "x"), [place(), place()]

    assert handle(function, creation(others[0]), creation(large), creation(others[1])) == {"batchItemFailures": []}

    assert listener.receive_ids() == [f"{order.order_id}.pending" for order in (others[0], large, others[1])]


@pytest.mark.parametrize(
    "error",
    [
        {"entry_code": "MalformedDetail"},
        {"entry_code": "InvalidArgument"},
        {"request_code": "ValidationException"},
        {"request_code": "ValidationError"},
    ],
    ids=lambda error: next(iter(error.values())),
)
def test_event_that_eventbridge_rejects_is_a_dead_letter(
    function: ModuleType,
    listener: Listener,
    dead_letters: DeadLetterReceiver,
    monkeypatch: pytest.MonkeyPatch,
    error: dict[str, str],
) -> None:
    first, bad, last = place(), place(), place()
    use_bus(function, monkeypatch, RejectingBus({bad.order_id}, **error))
    records = [creation(first), creation(bad), creation(last), confirmation(bad), confirmation(last)]

    assert handle(function, *records) == {"batchItemFailures": []}

    assert listener.receive_ids() == [
        f"{first.order_id}.pending",
        f"{last.order_id}.pending",
        f"{last.order_id}.confirmed",
    ]
    assert [letter["record"] for letter in dead_letters.receive()] == [records[1], records[3]]


def test_rejected_event_is_retried_while_the_dlq_is_down(
    function: ModuleType, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, bad = place(), place()
    use_bus(function, monkeypatch, RejectingBus({bad.order_id}))
    down = EndpointConnectionError(endpoint_url="https://queue.example")
    monkeypatch.setattr(function, "dead_letters", DeadLetterQueue("https://queue.example", FailingService(down)))
    records = [creation(first), creation(bad), confirmation(first)]

    assert failed_items(handle(function, *records)) == [sequence_number(records[1])]
    assert listener.receive_ids() == [f"{first.order_id}.pending"]


@pytest.mark.parametrize(
    "error",
    [{"entry_code": "NotAuthorizedForSourceException"}, {"request_code": "ResourceNotFoundException"}],
    ids=lambda error: next(iter(error.values())),
)
def test_event_is_retried_after_a_configuration_error(
    function: ModuleType, dead_letters: DeadLetterReceiver, monkeypatch: pytest.MonkeyPatch, error: dict[str, str]
) -> None:
    order = place()
    use_bus(function, monkeypatch, RejectingBus({order.order_id}, **error))

    with pytest.raises(function.NothingPublished):
        handle(function, creation(order), seconds=17.1)
    assert dead_letters.receive() == []
