"""The orders table's stream: tell others what became of each order, on an EventBridge bus."""

from order_payments.start_up import started

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from order_payments.clock import Deadline
from order_payments.dead_letters import LONGEST_KEEP_SECONDS, DeadLetters
from order_payments.event_bus import EventBus, events_client
from order_payments.observability import Count, count, logger, write_cancelled, write_metrics
from order_payments.order_events import OrderEvent, event_in
from order_payments.orders import Order, OrderStatus
from order_payments.settings import EventSettings

TIME_TO_REPORT_SECONDS = 2.0

settings = EventSettings.from_environment()
bus = EventBus(events_client(), settings.event_bus)
dead_letters = DeadLetters(settings.dead_letters_url)

Record = Mapping[str, Any]


class NothingPublished(Exception):
    """The first record of a batch is not done: Lambda divides the batch, until that one is alone."""


def publish_order_events(
    records: Sequence[Record], bus: EventBus, dead_letters: DeadLetters, *, deadline: Deadline
) -> int:
    """Publish what a batch of records says, in its order. Returns how many records are done, from the first on.

    What comes behind an event that EventBridge does not take waits for it: an order's events keep their order. A record
    that cannot be read is kept for people to look at, and nobody waits: it will not become readable.
    """
    events: list[tuple[int, OrderEvent]] = []
    for place, record in enumerate(records):
        try:
            event = event_in(record)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, the others are to be published
            logger.exception("a record could not be read", **whereabouts(record))
            # First what comes before it: neither is done again because the other could not be.
            unpublished = publish(events, bus, deadline)
            if unpublished is not None:
                return unpublished
            events = []
            if deadline.remaining() < LONGEST_KEEP_SECONDS or not dead_letters.keep(record, **whereabouts(record)):
                return place
        else:
            if event is not None:
                events.append((place, event))
    unpublished = publish(events, bus, deadline)
    return len(records) if unpublished is None else unpublished


def publish(events: Sequence[tuple[int, OrderEvent]], bus: EventBus, deadline: Deadline) -> int | None:
    """Publish events, each with its place, and count them. Returns the place of the first that could not be."""
    published = bus.publish([event for _, event in events], deadline=deadline)
    count_outcomes([event.order for _, event in events[:published]])
    return events[published][0] if published < len(events) else None


def count_outcomes(orders: Sequence[Order]) -> None:
    """Count what became of orders.

    Here, because the stream knows of every settlement, whoever made it, and tells of it once in all but bad times.
    """
    by_hand = [order for order in orders if order.override is not None]
    by_payment = [order for order in orders if order.override is None]
    count(Count.ORDER_CREATED, sum(order.status is OrderStatus.PENDING for order in orders))
    count(Count.PAYMENT_CONFIRMED, sum(order.status is OrderStatus.CONFIRMED for order in by_payment))
    count(Count.SETTLED_BY_HAND, len(by_hand))
    write_metrics()
    write_cancelled(Counter(order.reason.code for order in by_payment if order.reason is not None))


def whereabouts(record: Record) -> dict[str, Any]:
    """Where a record is found: its order, and its place in the stream."""
    change = record.get("dynamodb", {})
    return {
        "orderId": change.get("Keys", {}).get("orderId", {}).get("S"),
        "sequenceNumber": change.get("SequenceNumber"),
    }


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The function's entry point. Returns the first record that is not done; Lambda goes on from there.

    Not Powertools' BatchProcessor: that goes on behind a failed record, and what it publishes there overtakes it.
    """
    with logger.append_context_keys(invocationId=context.aws_request_id):
        records = event["Records"]
        deadline = Deadline.after(context.get_remaining_time_in_millis() / 1000 - TIME_TO_REPORT_SECONDS)
        done = publish_order_events(records, bus, dead_letters, deadline=deadline)
        if done == len(records):
            return {"batchItemFailures": []}
        if done == 0:
            raise NothingPublished(f"record {records[0]['dynamodb']['SequenceNumber']} cannot be published")
        return {"batchItemFailures": [{"itemIdentifier": records[done]["dynamodb"]["SequenceNumber"]}]}


started()
