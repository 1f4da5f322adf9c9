"""What is published of the orders table's stream, in which order, and what becomes of what cannot be."""

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
from order_payments.events.dead_letters import LARGEST_LETTER_BYTES, DeadLetters
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
    """A rule on the bus, and the queue behind it."""

    def __init__(self) -> None:
        self._sqs = boto3.client("sqs")
        self._url = self._sqs.create_queue(QueueName="listener")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        with closing(boto3.client("events")) as events:
            events.create_event_bus(Name=BUS)
            events.put_rule(Name="all", EventBusName=BUS, EventPattern='{"source":["order-payments"]}')
            events.put_targets(Rule="all", EventBusName=BUS, Targets=[{"Id": "queue", "Arn": arn}])

    def came(self) -> list[dict[str, Any]]:
        """What came since it was asked last, in turn."""
        came: list[dict[str, Any]] = []
        while messages := self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                came.append(json.loads(message["Body"]))
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return came

    def ids(self) -> list[str]:
        """The ids of the events that came."""
        return [event["detail"]["eventId"] for event in self.came()]


class Letters:
    """The queue of dead letters."""

    def __init__(self) -> None:
        self._sqs = boto3.client("sqs")
        self.url = self._sqs.create_queue(QueueName="dead-letters")["QueueUrl"]

    def came(self) -> list[dict[str, Any]]:
        """What is in it."""
        messages = self._sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(message["Body"]) for message in messages]


@pytest.fixture
def listener() -> Iterator[Listener]:
    with aws_on_moto():
        yield Listener()


@pytest.fixture
def letters(listener: Listener) -> Letters:  # noqa: ARG001 - needs the AWS that it mocks
    return Letters()


@pytest.fixture
def function(letters: Letters, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("ORDER_EVENTS_DEAD_LETTERS", letters.url)
    return load_function("publish_order_events")


class Moody:
    """EventBridge, which does not take some orders' events, so many times each."""

    def __init__(self, refused: dict[str, int]) -> None:
        self.client = events_client()
        self.refused = refused
        self.requests: list[int] = []

    def put_events(self, *, Entries: list[Any]) -> Any:  # noqa: N803 - boto3's
        self.requests.append(len(Entries))
        answers: list[dict[str, str]] = []
        for entry in Entries:
            order = json.loads(entry["Detail"])["order"]["orderId"]
            if self.refused.get(order, 0) > 0:
                self.refused[order] -= 1
                answers.append({"ErrorCode": "ThrottlingException", "ErrorMessage": "Rate exceeded"})
            else:
                answers += self.client.put_events(Entries=[entry])["Entries"]
        return {"FailedEntryCount": sum("ErrorCode" in answer for answer in answers), "Entries": answers}


class Strict:
    """EventBridge, which never takes some orders' events: it rejects the entry, or the request that has it."""

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
        answers = [
            error if is_bad else self.client.put_events(Entries=[entry])["Entries"][0]
            for entry, is_bad in zip(Entries, bad, strict=True)
        ]
        return {"FailedEntryCount": sum(bad), "Entries": answers}


class Dead:
    """EventBridge or the queue, when it is down or does not let us in."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def put_events(self, **_: Any) -> Any:
        raise self.error

    send_message = put_events


def handle(function: ModuleType, *records: Record, seconds: float = 40) -> Any:
    return function.handler({"Records": list(records)}, Context(seconds))


def with_bus(function: ModuleType, monkeypatch: pytest.MonkeyPatch, client: Any) -> None:
    monkeypatch.setattr(function, "bus", EventBus(client, BUS))


def first_failed(answer: Any) -> list[str]:
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def test_an_order_is_told_of_when_it_is_placed_and_when_it_is_settled(function: ModuleType, listener: Listener) -> None:
    paid, declined = place(), place()

    answer = handle(function, creation(paid), creation(declined), confirmation(paid), cancellation(declined))

    assert answer == {"batchItemFailures": []}
    events = listener.came()
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
            "items": [{"productId": "green-tea", "name": "Green tea", "quantity": 2, "unitPrice": 4599}],
        },
    }
    assert events[3]["detail"]["order"]["reason"]["declineCode"] == "generic_decline"


def test_a_record_that_cannot_be_read_is_kept_whole_and_nobody_waits_for_it(
    function: ModuleType, listener: Listener, letters: Letters
) -> None:
    first, second, bad = place(), place(), malformed_record()

    answer = handle(function, bad, creation(first), creation(second), confirmation(first))

    assert first_failed(answer) == []
    assert listener.ids() == [f"{first.order_id}.pending", f"{second.order_id}.pending", f"{first.order_id}.confirmed"]
    (letter,) = letters.came()
    assert letter["sequenceNumber"] == sequence_number(bad)
    assert letter["record"] == bad


def test_a_record_that_is_too_large_for_the_queue_is_named_there(function: ModuleType, letters: Letters) -> None:
    large = malformed_record()
    large["dynamodb"]["NewImage"]["note"] = {"S": "x" * LARGEST_LETTER_BYTES}

    handle(function, large)

    (letter,) = letters.came()
    assert letter["sequenceNumber"] == sequence_number(large)
    assert "record" not in letter


def test_what_the_queue_does_not_take_is_tried_again_with_all_behind_it(
    function: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, bad = place(), malformed_record()
    refused = ClientError({"Error": {"Code": "AccessDenied"}}, "SendMessage")
    monkeypatch.setattr(function, "dead_letters", DeadLetters("https://queue.example", Dead(refused)))

    assert first_failed(handle(function, creation(first), bad, confirmation(first))) == [sequence_number(bad)]
    with pytest.raises(function.NothingPublished, match=sequence_number(bad)):
        handle(function, bad, confirmation(first))


def test_what_the_queue_keeps_waiting_is_published_once(
    function: ModuleType, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, bad = place(), place(), malformed_record()
    down = EndpointConnectionError(endpoint_url="https://queue.example")
    with monkeypatch.context() as patched:
        patched.setattr(function, "dead_letters", DeadLetters("https://queue.example", Dead(down)))
        handle(function, creation(first), bad, creation(second))
        with pytest.raises(function.NothingPublished):
            handle(function, bad, creation(second))
    assert listener.ids() == [f"{first.order_id}.pending"]

    assert first_failed(handle(function, bad, creation(second))) == []
    assert listener.ids() == [f"{second.order_id}.pending"]


def test_nothing_is_kept_that_could_outlast_the_function(function: ModuleType, letters: Letters) -> None:
    with pytest.raises(function.NothingPublished):
        handle(function, malformed_record(), seconds=10)

    assert letters.came() == []


def test_what_comes_behind_an_event_that_was_refused_is_kept_when_its_turn_comes(
    function: ModuleType, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = place()
    with_bus(function, monkeypatch, Moody({refused.order_id: 1_000}))
    records = [creation(place()), creation(refused), malformed_record()]

    answer = handle(function, *records, seconds=17.1)

    assert first_failed(answer) == [sequence_number(records[1])]
    assert letters.came() == []


@pytest.mark.parametrize(
    "spoilt",
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
def test_what_no_order_of_ours_can_be_is_not_published(
    function: ModuleType, listener: Listener, letters: Letters, spoilt: Record, log_output: io.StringIO
) -> None:
    handle(function, spoilt)

    assert listener.ids() == []
    assert [letter["orderId"] for letter in letters.came()] == [placed_order.order_id]
    line = json.loads(log_output.getvalue().splitlines()[0])
    assert (line["level"], line["message"]) == ("ERROR", "stream record unreadable")
    assert (line["orderId"], line["sequenceNumber"]) == (placed_order.order_id, sequence_number(spoilt))
    assert "alice" not in json.dumps(line)


def test_events_that_eventbridge_refuses_are_sent_again_and_the_others_are_not(
    function: ModuleType, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = [place() for _ in range(4)]
    moody = Moody({orders[1].order_id: 2, orders[3].order_id: 1})
    with_bus(function, monkeypatch, moody)

    answer = handle(function, *map(creation, orders))

    assert answer == {"batchItemFailures": []}
    assert moody.requests == [4, 2, 1]
    assert sorted(listener.ids()) == sorted(f"{order.order_id}.pending" for order in orders)


def test_of_an_order_nothing_is_published_before_what_eventbridge_refused(
    function: ModuleType, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, other = place(), place()
    with_bus(function, monkeypatch, Moody({refused.order_id: 1000}))
    records = [creation(other), creation(refused), confirmation(refused), confirmation(other)]

    answer = handle(function, *records, seconds=17.1)

    assert first_failed(answer) == [sequence_number(records[1])]
    assert listener.ids() == [f"{other.order_id}.pending"]
    # Lambda goes on from there.
    with_bus(function, monkeypatch, events_client())
    assert handle(function, *records[1:]) == {"batchItemFailures": []}
    assert listener.ids() == [
        f"{refused.order_id}.pending",
        f"{refused.order_id}.confirmed",
        f"{other.order_id}.confirmed",
    ]


def test_the_first_failed_record_is_told_where_others_in_between_have_nothing_to_say(
    function: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, refused = place(), place()
    with_bus(function, monkeypatch, Moody({refused.order_id: 1000}))
    records = [record(order, claim(order)), creation(order), record(order, claim(order)), creation(refused)]

    answer = handle(function, *records, seconds=17.1)

    assert first_failed(answer) == [sequence_number(records[3])]


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "PutEvents"),
        EndpointConnectionError(endpoint_url="https://events.example"),
    ],
    ids=["denied", "down"],
)
def test_an_eventbridge_that_takes_nothing_fails_the_batch(
    function: ModuleType, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with_bus(function, monkeypatch, Dead(error))

    with pytest.raises(function.NothingPublished):
        handle(function, creation(place()))


def test_no_request_is_begun_that_could_outlast_the_function(function: ModuleType, listener: Listener) -> None:
    with pytest.raises(function.NothingPublished):
        handle(function, creation(place()), seconds=10)

    assert listener.ids() == []


def test_a_large_batch_is_published_whole(function: ModuleType, listener: Listener) -> None:
    orders = [place() for _ in range(15)]

    answer = handle(function, *map(creation, orders), *map(confirmation, orders))

    assert answer == {"batchItemFailures": []}
    ids = listener.ids()
    assert ids == [f"{order.order_id}.pending" for order in orders] + [
        f"{order.order_id}.confirmed" for order in orders
    ]


def test_what_is_published_is_logged_with_its_ids_and_nothing_of_the_buyers(
    function: ModuleType, log_output: io.StringIO
) -> None:
    order = place(buyer="somebody@example.com")

    handle(function, confirmation(order))

    (line,) = map(json.loads, log_output.getvalue().splitlines())
    assert (
        line.items()
        >= {
            "message": "published",
            "event": "order.confirmed",
            "eventId": f"{order.order_id}.confirmed",
            "orderId": order.order_id,
            "correlationId": "of-the-payment",
        }.items()
    )
    assert "somebody" not in log_output.getvalue()


def test_event_too_large_for_eventbridge_goes_to_the_dead_letters_and_nothing_waits(
    function: ModuleType, listener: Listener, letters: Letters, log_output: io.StringIO
) -> None:
    large, other = place(lines=100, name=2_000 * "\x01"), place()
    records = [creation(other), creation(large), confirmation(other)]

    assert handle(function, *records) == {"batchItemFailures": []}

    assert listener.ids() == [f"{other.order_id}.pending", f"{other.order_id}.confirmed"]
    (letter,) = letters.came()
    assert letter == {"orderId": large.order_id, "sequenceNumber": sequence_number(records[1])}
    (line,) = [line for line in map(json.loads, log_output.getvalue().splitlines()) if line["level"] == "ERROR"]
    assert (line["message"], line["eventId"]) == ("order event rejected", f"{large.order_id}.pending")
    assert line["bytes"] > 1024 * 1024


def test_event_larger_than_a_request_of_several_is_published(function: ModuleType, listener: Listener) -> None:
    large, others = place(lines=100, name=3_000 * "x"), [place(), place()]

    assert handle(function, creation(others[0]), creation(large), creation(others[1])) == {"batchItemFailures": []}

    assert listener.ids() == [f"{order.order_id}.pending" for order in (others[0], large, others[1])]


@pytest.mark.parametrize(
    "how",
    [
        {"entry_code": "MalformedDetail"},
        {"entry_code": "InvalidArgument"},
        {"request_code": "ValidationException"},
        {"request_code": "ValidationError"},
    ],
    ids=lambda how: next(iter(how.values())),
)
def test_event_that_eventbridge_rejects_goes_to_the_dead_letters_and_nothing_waits(
    function: ModuleType,
    listener: Listener,
    letters: Letters,
    monkeypatch: pytest.MonkeyPatch,
    how: dict[str, str],
) -> None:
    first, bad, last = place(), place(), place()
    with_bus(function, monkeypatch, Strict({bad.order_id}, **how))
    records = [creation(first), creation(bad), creation(last), confirmation(bad), confirmation(last)]

    assert handle(function, *records) == {"batchItemFailures": []}

    assert listener.ids() == [f"{first.order_id}.pending", f"{last.order_id}.pending", f"{last.order_id}.confirmed"]
    assert [letter["record"] for letter in letters.came()] == [records[1], records[3]]


def test_rejected_event_waits_while_the_dead_letter_queue_is_down(
    function: ModuleType, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, bad = place(), place()
    with_bus(function, monkeypatch, Strict({bad.order_id}))
    down = EndpointConnectionError(endpoint_url="https://queue.example")
    monkeypatch.setattr(function, "dead_letters", DeadLetters("https://queue.example", Dead(down)))
    records = [creation(first), creation(bad), confirmation(first)]

    assert first_failed(handle(function, *records)) == [sequence_number(records[1])]
    assert listener.ids() == [f"{first.order_id}.pending"]


@pytest.mark.parametrize(
    "how",
    [{"entry_code": "NotAuthorizedForSourceException"}, {"request_code": "ResourceNotFoundException"}],
    ids=lambda how: next(iter(how.values())),
)
def test_event_that_a_permission_would_let_in_is_tried_again(
    function: ModuleType, letters: Letters, monkeypatch: pytest.MonkeyPatch, how: dict[str, str]
) -> None:
    order = place()
    with_bus(function, monkeypatch, Strict({order.order_id}, **how))

    with pytest.raises(function.NothingPublished):
        handle(function, creation(order), seconds=17.1)
    assert letters.came() == []
