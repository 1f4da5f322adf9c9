"""Batches of events for EventBridge's `PutEvents` requests."""

from order_payments.events.event_bus import LARGEST_REQUEST_BYTES, count_bytes, split_into_requests
from order_payments.events.order_events import OrderEvent, read_event
from tests.support.order_stream import (
    Record,
    cancellation,
    confirmation,
    creation,
    place,
)


def events_of(*records: Record) -> list[OrderEvent]:
    return [event for each in records if (event := read_event(each))]


def test_requests_have_at_most_ten_events_in_order() -> None:
    events = events_of(*(creation(place()) for _ in range(25)))

    requests = list(split_into_requests(events))

    assert [len(request) for request in requests] == [10, 10, 5]
    assert [event for request in requests for event in request] == events


def test_events_of_one_order_are_sent_in_separate_requests() -> None:
    first, second = place(), place()
    events = events_of(creation(first), creation(second), confirmation(second), cancellation(first))

    assert list(split_into_requests(events)) == [events[:2], events[2:]]


def test_request_stays_within_eventbridges_size_limit() -> None:
    largest = events_of(*(creation(place(lines=100, name=200 * "\N{TEAPOT}")) for _ in range(5)))

    requests = list(split_into_requests(largest))

    assert len(requests) > 1
    assert [event for request in requests for event in request] == largest
    assert all(sum(map(count_bytes, request)) <= LARGEST_REQUEST_BYTES for request in requests)
