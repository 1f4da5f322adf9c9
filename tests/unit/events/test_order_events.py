"""What an order event says, made of a record of the stream, and the schema that it keeps."""

import json
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from delivery import event_schemas
from order_payments.domain.orders import Override
from order_payments.events.order_events import OrderEvent, event_in
from tests.support.order_stream import (
    DECLINED,
    SETTLED_AT,
    Record,
    changed,
    claimed,
    confirmation,
    confirmed,
    creation,
    placed,
    record,
)

SCHEMA = Draft202012Validator(json.loads(event_schemas.ORDER.read_text()), format_checker=FormatChecker())


def test_the_same_record_gives_the_same_event_again() -> None:
    once = confirmation(placed())

    assert event_in(once) == event_in(once)


@pytest.mark.parametrize(
    "silent",
    [
        record(placed_order := placed(), claimed(placed_order)),
        record(claimed(placed_order), changed(placed_order)),
        record(confirmed(placed_order), changed(confirmed(placed_order))),
        record(placed_order, None),
    ],
    ids=["claim", "void", "refund", "removal"],
)
def test_a_write_that_changes_no_status_is_not_told(silent: Record) -> None:
    assert event_in(silent) is None


def test_an_event_knows_the_request_that_it_comes_from() -> None:
    order = placed()
    by_hand = changed(order, status="cancelled", reason=DECLINED, override=Override("ada", SETTLED_AT, "Lost."))

    requests = [json.loads(OrderEvent.of(each).detail)["correlationId"] for each in (order, confirmed(order), by_hand)]

    assert requests == ["of-the-order", "of-the-payment", None]


def test_an_event_of_money_that_nobody_was_seen_to_send_knows_who_placed_the_order() -> None:
    paid = confirmed(placed())
    assert paid.attempt is not None

    late = changed(paid, attempt=replace(paid.attempt, request_id=None))

    assert json.loads(OrderEvent.of(late).detail)["correlationId"] == "of-the-order"


def test_the_schema_is_what_the_models_say() -> None:
    assert event_schemas.ORDER.read_text() == event_schemas.text(), "docs/events is stale: run `make event-schemas`"


def test_the_schema_is_one_and_lets_fields_come() -> None:
    Draft202012Validator.check_schema(event_schemas.order())
    event = event_in(creation(placed()))
    assert event is not None
    detail = json.loads(event.detail)

    SCHEMA.validate({**detail, "order": {**detail["order"], "colour": "green"}})
    for missing in detail:
        assert not SCHEMA.is_valid({name: value for name, value in detail.items() if name != missing})
    assert not SCHEMA.is_valid({**detail, "version": 2})
