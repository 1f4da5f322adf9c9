"""An EventBridge bus: events in, in order, and what became of them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from order_payments.clock import Deadline
from order_payments.dynamodb import tries
from order_payments.observability import logger
from order_payments.order_events import SOURCE, OrderEvent

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html
LARGEST_REQUEST_ENTRIES = 10
LARGEST_REQUEST_BYTES = 256 * 1024
_BYTES_OF_TIME = 14

CONNECT_TIMEOUT_SECONDS = 1.0
READ_TIMEOUT_SECONDS = 3.0
SDK_TRIES = 3
LONGEST_CALL_SECONDS = SDK_TRIES * (CONNECT_TIMEOUT_SECONDS + READ_TIMEOUT_SECONDS) + 3.0
"""What a call may take where EventBridge does not answer, botocore's pauses included."""


def events_client() -> "EventBridgeClient":
    """A client that gives up in time for the rest of a batch to be reported."""
    return boto3.client(
        "events",
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            retries={"mode": "standard", "total_max_attempts": SDK_TRIES},
            tcp_keepalive=True,
        ),
    )


class EventBus:
    """The bus that order events go to."""

    def __init__(self, client: "EventBridgeClient", name: str) -> None:
        self._client = client
        self._name = name

    def publish(self, events: Sequence[OrderEvent], *, deadline: Deadline) -> int:
        """Publish events in their order. Returns how many were, from the first on, before one could not be.

        Of the request with that one, later events of other orders may have been published as well; they will be
        again. None of its own order's have.
        """
        published = 0
        for batch in batches(events):
            if deadline.remaining() < LONGEST_CALL_SECONDS:
                logger.warning("no time left to publish", left=len(events) - published)
                return published
            refused = self._refused(batch, deadline=deadline.sooner(LONGEST_CALL_SECONDS))
            if refused:
                return published + batch.index(refused[0])
            published += len(batch)
        return published

    def _refused(self, batch: Sequence[OrderEvent], *, deadline: Deadline) -> Sequence[OrderEvent]:
        """Those of one request's events that are not published, in their order: all where no answer tells."""
        left = batch
        for _ in tries(deadline):
            try:
                answer = self._client.put_events(Entries=[self._entry(event) for event in left])
            except (ClientError, BotoCoreError):
                # botocore has tried again what may pass.
                logger.exception("events were not taken", eventIds=[event.event_id for event in left])
                return left
            entries = list(zip(left, answer["Entries"], strict=True))
            for event, entry in entries:
                if "ErrorCode" not in entry:
                    logger.info(
                        "published",
                        event=event.detail_type,
                        eventId=event.event_id,
                        orderId=event.order_id,
                        correlationId=event.correlation_id,
                    )
            left = [event for event, entry in entries if "ErrorCode" in entry]
            if not left:
                return []
            logger.warning(
                "events were refused",
                eventIds=[event.event_id for event in left],
                errors=sorted({entry["ErrorCode"] for _, entry in entries if "ErrorCode" in entry}),
            )
        return left

    def _entry(self, event: OrderEvent) -> "PutEventsRequestEntryTypeDef":
        return {
            "EventBusName": self._name,
            "Source": SOURCE,
            "DetailType": event.detail_type,
            "Detail": event.detail,
            "Time": event.occurred_at,
        }


def batches(events: Sequence[OrderEvent]) -> Iterator[list[OrderEvent]]:
    """The events in their order, in requests that EventBridge takes.

    An order is in a request once: EventBridge may refuse one entry and take the next, and so turn two events round.
    """
    batch: list[OrderEvent] = []
    size = 0
    for event in events:
        more = size_of(event)
        is_full = len(batch) == LARGEST_REQUEST_ENTRIES or size + more > LARGEST_REQUEST_BYTES
        if batch and (is_full or event.order_id in {other.order_id for other in batch}):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += more
    if batch:
        yield batch


def size_of(event: OrderEvent) -> int:
    """Bytes of an event, as EventBridge counts them."""
    return _BYTES_OF_TIME + sum(len(text.encode()) for text in (SOURCE, event.detail_type, event.detail))
