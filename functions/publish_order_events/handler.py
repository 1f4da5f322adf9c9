"""The orders table's stream: tell others what became of each order, on an EventBridge bus."""

from order_payments.composition import Components

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from order_payments.domain.orders import Order, OrderStatus
from order_payments.events.dead_letters import SQS_CALL_SECONDS, DeadLetterQueue
from order_payments.events.event_bus import EventBus, count_bytes
from order_payments.events.order_events import OrderEvent, read_event
from order_payments.runtime.clock import Deadline
from order_payments.runtime.metric_names import Count
from order_payments.runtime.observability import count, logger, write_cancellation_counts, write_metrics

PUBLISHER_REPORT_SECONDS = 2.0

components = Components()
bus = components.event_bus
dead_letters = components.dead_letters

Record = Mapping[str, Any]


class NothingPublished(Exception):
    """The first record of a batch is not done: Lambda divides the batch, until that one is alone."""


def publish_order_events(
    records: Sequence[Record], bus: EventBus, dead_letters: DeadLetterQueue, *, deadline: Deadline
) -> int:
    """Publish what a batch of records says, in its order. Return how many records are done, from the first on.

    What follows an event that EventBridge does not take now waits for it: an order's events keep their order. A record
    that cannot be read, and an event that EventBridge will never take, go to the dead-letter queue. Nothing waits for
    them.
    """

    def give_up(record: Record) -> bool:
        return deadline.remaining() >= SQS_CALL_SECONDS and dead_letters.send(record, **locate_record(record))

    def publish(events: Mapping[int, OrderEvent]) -> int | None:
        """Publish events by their records' places. Return the first place that is not done."""
        places = {event.event_id: place for place, event in events.items()}

        def give_up_event(event: OrderEvent) -> bool:
            record = records[places[event.event_id]]
            logger.error(
                "order event rejected", eventId=event.event_id, bytes=count_bytes(event), **locate_record(record)
            )
            return give_up(record)

        done = bus.publish(list(events.values()), give_up=give_up_event, deadline=deadline)
        count_outcomes([event.order for event in list(events.values())[:done]])
        return list(events)[done] if done < len(events) else None

    events: dict[int, OrderEvent] = {}
    for place, record in enumerate(records):
        try:
            event = read_event(record)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, the others are to be published
            logger.exception("stream record unreadable", **locate_record(record))
            # First what comes before it: neither is done again because the other could not be.
            not_done = publish(events)
            if not_done is not None:
                return not_done
            events = {}
            if not give_up(record):
                return place
        else:
            if event is not None:
                events[place] = event
    not_done = publish(events)
    return len(records) if not_done is None else not_done


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
    write_cancellation_counts(Counter(order.reason.code for order in by_payment if order.reason is not None))


def locate_record(record: Record) -> dict[str, Any]:
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
        deadline = Deadline.after(context.get_remaining_time_in_millis() / 1000 - PUBLISHER_REPORT_SECONDS)
        done = publish_order_events(records, bus, dead_letters, deadline=deadline)
        if done == len(records):
            return {"batchItemFailures": []}
        if done == 0:
            raise NothingPublished(f"record {records[0]['dynamodb']['SequenceNumber']} cannot be published")
        return {"batchItemFailures": [{"itemIdentifier": records[done]["dynamodb"]["SequenceNumber"]}]}


components.finish_start()
