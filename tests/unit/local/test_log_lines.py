"""Log lines for people: one line an event, and nothing of the platform's own."""

import io
import json

import pytest

from local.emulator.function_logs import LogLine
from local.emulator.log_lines import format_line, is_successful_read, make_line_handler


def line(message: str) -> LogLine:
    return LogLine(1_795_000_000_000, "stream", 0, message)


def plain(message: str) -> str:
    text = format_line(line(message))
    assert text is not None
    return text.plain


def test_an_event_is_one_line_with_its_function_and_fields() -> None:
    entry = {
        "level": "WARNING",
        "location": "f:1",
        "message": "payment outcome unknown",
        "timestamp": "2026-11-23 08:53:56,397+0000",
        "service": "order-payments",
        "function_name": "order-payments-InitiatePaymentFunction-1A2B3C",
        "orderId": "ord_1",
        "requestId": None,
    }

    shown = plain(json.dumps(entry))

    assert shown.endswith("WARNING initiate_payment      payment outcome unknown orderId=ord_1")
    assert shown[5:12] == ":56.397"
    assert "\n" not in shown


@pytest.mark.parametrize("level", ["INFO", "WARNING", "ERROR"])
def test_levels_differ_in_colour(level: str) -> None:
    text = format_line(line(json.dumps({"level": level, "message": "x"})))
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
    "message",
    [
        "START RequestId: 1 Version: $LATEST",
        "END RequestId: 1",
        "REPORT RequestId: 1\tDuration: 3 ms",
        " \n",
        '{"_aws": {"CloudWatchMetrics": []}, "service": "order-payments", "PaymentUnknown": [1.0]}',
    ],
)
def test_what_the_platform_says_or_counts_is_left_out(message: str) -> None:
    assert format_line(line(message)) is None


ANSWERED = {"level": "INFO", "message": "request completed", "status": 200}


def logged(folder: str, **entry: object) -> LogLine:
    name = "".join(word.capitalize() for word in folder.split("_"))
    return line(json.dumps({"function_name": f"order-payments-{name}Function-1A2B3C", **entry}))


@pytest.mark.parametrize("function", ["list_products", "list_orders", "get_order_status", "get_product"])
def test_a_read_that_succeeded_is_known_as_such(function: str) -> None:
    assert is_successful_read(logged(function, **ANSWERED))


def test_being_let_in_is_part_of_a_read() -> None:
    assert is_successful_read(logged("authorizer", level="INFO", message="token accepted"))


@pytest.mark.parametrize(
    ("function", "entry"),
    [
        ("initiate_payment", ANSWERED),
        ("create_order", ANSWERED),
        ("get_order_status", {**ANSWERED, "status": 404}),
        ("list_orders", {**ANSWERED, "status": 500}),
        ("list_orders", {"level": "INFO", "message": "request refused", "code": "forbidden"}),
        ("list_orders", {**ANSWERED, "level": "WARNING"}),
        ("list_orders", {"level": "INFO", "message": "request completed"}),
        ("authorizer", {"level": "INFO", "message": "token refused", "reason": "expired"}),
        ("reconcile_payments", {"level": "INFO", "message": "reconciler run completed", "settled": 1}),
    ],
)
def test_what_changes_something_fails_or_is_refused_is_no_successful_read(
    function: str, entry: dict[str, object]
) -> None:
    assert not is_successful_read(logged(function, **entry))


def test_what_a_reader_prints_by_itself_is_no_successful_read() -> None:
    assert not is_successful_read(line("Traceback: something"))


def test_the_terminal_shows_no_successful_read_and_the_file_has_it() -> None:
    log, shown = io.StringIO(), []
    take = make_line_handler(log, lambda text: shown.append(text.plain))

    take(logged("list_products", **ANSWERED))
    take(logged("create_order", **ANSWERED))

    in_file = log.getvalue().splitlines()
    assert ["list_products" in in_file[0], "create_order" in in_file[1]] == [True, True]
    assert shown == in_file[1:]
