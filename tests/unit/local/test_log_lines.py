"""Log lines for people: one line an event, and nothing of the platform's own."""

import json

import pytest

from local.function_logs import LogLine
from local.log_lines import readable


def line(message: str, function: str = "order-payments-InitiatePaymentFunction-1A2B3C") -> LogLine:
    return LogLine(1_795_000_000_000, function, "stream", 0, message)


def plain(message: str) -> str:
    text = readable(line(message))
    assert text is not None
    return text.plain


def test_an_event_is_one_line_with_its_function_and_fields() -> None:
    entry = {
        "level": "WARNING",
        "location": "f:1",
        "message": "payment outcome unknown",
        "timestamp": "2026-11-23 08:53:56,397+0000",
        "service": "order-payments",
        "orderId": "ord_1",
        "requestId": None,
    }

    shown = plain(json.dumps(entry))

    assert shown.endswith("WARNING initiate_payment      payment outcome unknown orderId=ord_1")
    assert shown[5:12] == ":56.397"
    assert "\n" not in shown


@pytest.mark.parametrize("level", ["INFO", "WARNING", "ERROR"])
def test_levels_differ_in_colour(level: str) -> None:
    text = readable(line(json.dumps({"level": level, "message": "x"})))
    assert text is not None

    (style,) = {str(span.style) for span in text.spans if level in text.plain[span.start : span.end]}
    assert style == {"INFO": "green", "WARNING": "yellow", "ERROR": "bold red"}[level]


def test_an_exception_keeps_its_traceback() -> None:
    shown = plain(json.dumps({"level": "ERROR", "message": "failed", "exception": "Traceback\n  KeyError"}))

    assert shown.endswith("failed\nTraceback\n  KeyError")


@pytest.mark.parametrize("message", ["no JSON", "[1]", '{"level": "INFO"}', "7"])
def test_what_is_not_of_our_form_is_shown_as_it_is(message: str) -> None:
    assert plain(message + "\n").endswith(message)


@pytest.mark.parametrize(
    "message", ["START RequestId: 1 Version: $LATEST", "END RequestId: 1", "REPORT RequestId: 1\tDuration: 3 ms", " \n"]
)
def test_what_the_platform_says_is_left_out(message: str) -> None:
    assert readable(line(message)) is None
