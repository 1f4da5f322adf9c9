"""Publishing of order events on an EventBridge bus, in the order of each order's events."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from order_payments.events.order_events import SOURCE, OrderEvent
from order_payments.runtime.aws_clients import CallLimits, aws_client
from order_payments.runtime.clock import Deadline
from order_payments.runtime.observability import logger
from order_payments.runtime.retry_budgets import retry_until

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html
LARGEST_REQUEST_ENTRIES = 10
LARGEST_REQUEST_BYTES = 256 * 1024
"""Limit of a request with several events. A larger event is sent alone."""
# Since 2026: https://aws.amazon.com/blogs/compute/more-room-to-build-serverless-services-now-support-payloads-up-to-1-mb
LARGEST_EVENT_BYTES = 1024 * 1024
_BYTES_OF_TIME = 14

# https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html
# Errors that depend on the event alone, so that a retry cannot succeed.
REJECTION_CODES = frozenset({"InvalidArgument", "MalformedDetail", "RedactionFailure"})
# Errors of a whole request: https://docs.aws.amazon.com/eventbridge/latest/APIReference/CommonErrors.html
_REQUEST_REJECTION_CODES = frozenset({"ValidationError", "ValidationException"})

# Short, so that the result of the batch is still reported in time.
EVENTBRIDGE_LIMITS = CallLimits(connect_timeout_seconds=1.0, read_timeout_seconds=3.0, max_attempts=3)
EVENTBRIDGE_CALL_SECONDS = EVENTBRIDGE_LIMITS.longest_call_seconds


def events_client() -> "EventBridgeClient":
    """Return a client whose calls end within `EVENTBRIDGE_CALL_SECONDS`."""
    client: EventBridgeClient = aws_client("events", EVENTBRIDGE_LIMITS, tcp_keepalive=True)
    return client


class _RequestRejected(Exception):
    """EventBridge rejected a whole request because of its content."""


class EventBus:
    """The bus for order events."""

    def __init__(self, client: "EventBridgeClient", name: str) -> None:
        self._client = client
        self._name = name

    def publish(
        self, events: Sequence[OrderEvent], *, give_up: Callable[[OrderEvent], bool], deadline: Deadline
    ) -> int:
        """Publish events in their order. Return the number of events handled before the first one that is not.

        An event is handled if it was published, or if EventBridge rejected it and `give_up` returned True for it. Later
        events of other orders may have been published together with the first unhandled one; they will be published
        again. No later event of the same order was published.
        """
        handled = 0
        requests = deque(split_into_requests(events))
        while requests:
            batch = requests.popleft()
            if deadline.remaining() < EVENTBRIDGE_CALL_SECONDS:
                logger.warning("event publishing stopped: too little time", left=len(events) - handled)
                return handled
            try:
                left, rejected = self._send(batch, deadline=deadline.earlier_by(EVENTBRIDGE_CALL_SECONDS))
            except _RequestRejected:
                if len(batch) > 1:
                    # Send each event alone, so that an invalid one does not block the others.
                    requests.extendleft([event] for event in reversed(batch))
                    continue
                left, rejected = [], batch
            for event in batch:
                if event in left or (event in rejected and not give_up(event)):
                    return handled
                handled += 1
        return handled

    def _send(
        self, batch: Sequence[OrderEvent], *, deadline: Deadline
    ) -> tuple[Sequence[OrderEvent], Sequence[OrderEvent]]:
        """Send one request and retry failed events. Return the events not published, and the events rejected.

        Without a response no event counts as published. Raises `_RequestRejected`.
        """
        if count_bytes(batch[0]) > LARGEST_EVENT_BYTES:
            raise _RequestRejected
        left, rejected = batch, list[OrderEvent]()
        for _ in retry_until(deadline):
            try:
                response = self._client.put_events(Entries=[self._entry(event) for event in left])
            except (ClientError, BotoCoreError) as error:
                if isinstance(error, ClientError) and _is_rejection(error):
                    raise _RequestRejected from error
                # botocore has already retried transient errors.
                logger.exception("event publishing failed", eventIds=[event.event_id for event in left])
                break
            entries = list(zip(left, response["Entries"], strict=True))
            for event, entry in entries:
                if "ErrorCode" not in entry:
                    logger.info(
                        "event published",
                        event=event.detail_type,
                        eventId=event.event_id,
                        orderId=event.order.order_id,
                        correlationId=event.order.last_request_id,
                    )
            rejected += [event for event, entry in entries if entry.get("ErrorCode") in REJECTION_CODES]
            left = [event for event, entry in entries if "ErrorCode" in entry and event not in rejected]
            if not left:
                break
            logger.warning(
                "events refused",
                eventIds=[event.event_id for event in left],
                errors=sorted({entry["ErrorCode"] for _, entry in entries if "ErrorCode" in entry}),
            )
        return left, rejected

    def _entry(self, event: OrderEvent) -> "PutEventsRequestEntryTypeDef":
        return {
            "EventBusName": self._name,
            "Source": SOURCE,
            "DetailType": event.detail_type,
            "Detail": event.detail,
            "Time": event.order.updated_at,
        }


def _is_rejection(error: ClientError) -> bool:
    """Return whether EventBridge rejects the request because of its content, for example its size."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or error.response["Error"]["Code"] in _REQUEST_REJECTION_CODES


def split_into_requests(events: Sequence[OrderEvent]) -> Iterator[list[OrderEvent]]:
    """Yield the events in their order, in batches that fit into a request.

    A batch has at most one event of an order: EventBridge may refuse an entry and accept a later one, which would
    reverse the two.
    """
    batch: list[OrderEvent] = []
    size = 0
    for event in events:
        more = count_bytes(event)
        is_full = len(batch) == LARGEST_REQUEST_ENTRIES or size + more > LARGEST_REQUEST_BYTES
        if batch and (is_full or event.order.order_id in {other.order.order_id for other in batch}):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += more
    if batch:
        yield batch


def count_bytes(event: OrderEvent) -> int:
    """Return the size of an event as EventBridge counts it."""
    return _BYTES_OF_TIME + sum(len(text.encode()) for text in (SOURCE, event.detail_type, event.detail))
