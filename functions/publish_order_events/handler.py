"""Event publisher: publishes the changes in the orders table's stream on an EventBridge bus."""

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
    """The first record of a batch could not be published. Lambda divides the batch until that record is alone."""


def publish_order_events(
    records: Sequence[Record], bus: EventBus, dead_letters: DeadLetterQueue, *, deadline: Deadline
) -> int:
    """Publish the events of a batch of records, in order. Return how many records are done, from the first on.

    If EventBridge does not accept an event now, later records wait for it, so that an order's events keep their order.
    A record that cannot be read, and an event that EventBridge will never accept, go to the dead-letter queue and block
    no others.
    """

    def give_up(record: Record) -> bool:
        return deadline.remaining() >= SQS_CALL_SECONDS and dead_letters.send(record, **locate_record(record))

    def publish(events: Mapping[int, OrderEvent]) -> int | None:
        """Publish events, keyed by the position of their record. Return the first position that is not done."""
        positions = {event.event_id: position for position, event in events.items()}

        def give_up_event(event: OrderEvent) -> bool:
            record = records[positions[event.event_id]]
            logger.error(
                "order event rejected", eventId=event.event_id, bytes=count_bytes(event), **locate_record(record)
            )
            return give_up(record)

        done_count = bus.publish(list(events.values()), give_up=give_up_event, deadline=deadline)
        count_outcomes([event.order for event in list(events.values())[:done_count] if event.refund is None])
        return list(events)[done_count] if done_count < len(events) else None

    events: dict[int, OrderEvent] = {}
    for position, record in enumerate(records):
        try:
            event = read_event(record)
        except Exception:  # noqa: BLE001 - no invalid record may block the others
            logger.exception("stream record unreadable", **locate_record(record))
            # Publish the events before it first, so that neither result causes the other to be repeated.
            first_not_done = publish(events)
            if first_not_done is not None:
                return first_not_done
            events = {}
            if not give_up(record):
                return position
        else:
            if event is not None:
                events[position] = event
    first_not_done = publish(events)
    return len(records) if first_not_done is None else first_not_done


def count_outcomes(orders: Sequence[Order]) -> None:
    """Count orders by outcome.

    The stream contains every settlement, regardless of the function that made it, and usually delivers it once.
    """
    by_hand = [order for order in orders if order.override is not None]
    by_payment = [order for order in orders if order.override is None]
    count(Count.ORDER_CREATED, sum(order.status is OrderStatus.PENDING for order in orders))
    count(Count.PAYMENT_CONFIRMED, sum(order.status is OrderStatus.CONFIRMED for order in by_payment))
    count(Count.SETTLED_BY_HAND, len(by_hand))
    write_metrics()
    write_cancellation_counts(Counter(order.reason.code for order in by_payment if order.reason is not None))


def locate_record(record: Record) -> dict[str, Any]:
    """Return the record's order id and its position in the stream."""
    change = record.get("dynamodb", {})
    return {
        "orderId": change.get("Keys", {}).get("orderId", {}).get("S"),
        "sequenceNumber": change.get("SequenceNumber"),
    }


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Publish a batch. Returns the first record that is not done, from which Lambda continues.

    Powertools' BatchProcessor is not used: it continues after a failed record, so later events would overtake it.
    """
    with logger.append_context_keys(invocationId=context.aws_request_id):
        records = event["Records"]
        deadline = Deadline.after(context.get_remaining_time_in_millis() / 1000 - PUBLISHER_REPORT_SECONDS)
        done_count = publish_order_events(records, bus, dead_letters, deadline=deadline)
        if done_count == len(records):
            return {"batchItemFailures": []}
        if done_count == 0:
            raise NothingPublished(f"record {records[0]['dynamodb']['SequenceNumber']} cannot be published")
        return {"batchItemFailures": [{"itemIdentifier": records[done_count]["dynamodb"]["SequenceNumber"]}]}


components.finish_start()
