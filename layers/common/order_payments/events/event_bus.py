"""An EventBridge bus: events in, in order, and what became of them."""

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
# Those that depend on the event alone. Other errors end when the outage does, or when a permission is granted.
REJECTION_CODES = frozenset({"InvalidArgument", "MalformedDetail", "RedactionFailure"})
# https://docs.aws.amazon.com/eventbridge/latest/APIReference/CommonErrors.html, of the whole request.
_REQUEST_REJECTION_CODES = frozenset({"ValidationError", "ValidationException"})

# No client waits for an event, but the rest of the batch must be reported in time.
EVENTBRIDGE_LIMITS = CallLimits(connect_timeout_seconds=1.0, read_timeout_seconds=3.0, max_attempts=3)
EVENTBRIDGE_CALL_SECONDS = EVENTBRIDGE_LIMITS.longest_call_seconds


def events_client() -> "EventBridgeClient":
    """Return a client that gives up within `EVENTBRIDGE_CALL_SECONDS`."""
    client: EventBridgeClient = aws_client("events", EVENTBRIDGE_LIMITS, tcp_keepalive=True)
    return client


class _RequestRejected(Exception):
    """EventBridge rejects the whole request for what is in it."""


class EventBus:
    """The bus that order events go to."""

    def __init__(self, client: "EventBridgeClient", name: str) -> None:
        self._client = client
        self._name = name

    def publish(
        self, events: Sequence[OrderEvent], *, give_up: Callable[[OrderEvent], bool], deadline: Deadline
    ) -> int:
        """Publish events in their order. Return how many are done, from the first on, before one that is not.

        An event that EventBridge will never take is done once `give_up` returns True for it. The request with the first
        event that is not done may have published later events of other orders, which are published again. It has
        published none of the same order.
        """
        done = 0
        requests = deque(split_into_requests(events))
        while requests:
            batch = requests.popleft()
            if deadline.remaining() < EVENTBRIDGE_CALL_SECONDS:
                logger.warning("no time left to publish", left=len(events) - done)
                return done
            try:
                left, rejected = self._send(batch, deadline=deadline.earlier_by(EVENTBRIDGE_CALL_SECONDS))
            except _RequestRejected:
                if len(batch) > 1:
                    # Send each event alone, so that the others do not wait for the one at fault.
                    requests.extendleft([event] for event in reversed(batch))
                    continue
                left, rejected = [], batch
            for event in batch:
                if event in left or (event in rejected and not give_up(event)):
                    return done
                done += 1
        return done

    def _send(
        self, batch: Sequence[OrderEvent], *, deadline: Deadline
    ) -> tuple[Sequence[OrderEvent], Sequence[OrderEvent]]:
        """Send one request, and again what may still be taken. Return the events not published, and those rejected.

        Without a response none counts as published. Raises `_RequestRejected`.
        """
        if count_bytes(batch[0]) > LARGEST_EVENT_BYTES:
            raise _RequestRejected
        left, rejected = batch, list[OrderEvent]()
        for _ in retry_until(deadline):
            try:
                answer = self._client.put_events(Entries=[self._entry(event) for event in left])
            except (ClientError, BotoCoreError) as error:
                if isinstance(error, ClientError) and _is_rejection(error):
                    raise _RequestRejected from error
                # botocore has tried again what may pass.
                logger.exception("events were not taken", eventIds=[event.event_id for event in left])
                break
            entries = list(zip(left, answer["Entries"], strict=True))
            for event, entry in entries:
                if "ErrorCode" not in entry:
                    logger.info(
                        "published",
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
                "events were refused",
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
    """Return whether EventBridge rejects what is in the request, as it does with one that is too large."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or error.response["Error"]["Code"] in _REQUEST_REJECTION_CODES


def split_into_requests(events: Sequence[OrderEvent]) -> Iterator[list[OrderEvent]]:
    """The events in their order, in requests that EventBridge takes.

    An order is in a request once: EventBridge may refuse one entry and take the next, and so turn two events round.
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
    """Bytes of an event, as EventBridge counts them."""
    return _BYTES_OF_TIME + sum(len(text.encode()) for text in (SOURCE, event.detail_type, event.detail))
