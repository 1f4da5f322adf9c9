"""Log lines for the terminal: one line per entry, without the platform's lines."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console
from rich.text import Text

from local.emulator.function_logs import LogLine
from local.emulator.log_lines import format_line, is_successful_read, make_line_handler


def line(message: str) -> LogLine:
    return LogLine(1_795_000_000_000, "stream", 0, message)


def plain(message: str) -> str:
    text = format_line(line(message))
    assert text is not None
    return text.plain


def test_entry_is_one_line_with_its_function_and_fields() -> None:
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


def test_exception_is_shown_with_its_traceback() -> None:
    shown = plain(json.dumps({"level": "ERROR", "message": "failed", "exception": "Traceback\n  KeyError"}))

    assert shown.endswith("failed\nTraceback\n  KeyError")


@pytest.mark.parametrize("message", ["not JSON", "[1]", '{"level": "INFO"}', "7"])
def test_unstructured_line_is_shown_unchanged(message: str) -> None:
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
def test_platform_lines_and_metrics_are_omitted(message: str) -> None:
    assert format_line(line(message)) is None


COMPLETED = {"level": "INFO", "message": "request completed", "status": 200}


def function_line(folder: str, **entry: object) -> LogLine:
    name = "".join(word.capitalize() for word in folder.split("_"))
    return line(json.dumps({"function_name": f"order-payments-{name}Function-1A2B3C", **entry}))


@pytest.mark.parametrize("function", ["list_products", "list_orders", "get_order_status", "get_product"])
def test_completed_read_is_a_successful_read(function: str) -> None:
    assert is_successful_read(function_line(function, **COMPLETED))


def test_accepted_token_counts_as_part_of_a_read() -> None:
    assert is_successful_read(function_line("authorizer", level="INFO", message="token accepted"))


@pytest.mark.parametrize(
    ("function", "entry"),
    [
        ("initiate_payment", COMPLETED),
        ("create_order", COMPLETED),
        ("get_order_status", {**COMPLETED, "status": 404}),
        ("list_orders", {**COMPLETED, "status": 500}),
        ("list_orders", {"level": "INFO", "message": "request refused", "code": "forbidden"}),
        ("list_orders", {**COMPLETED, "level": "WARNING"}),
        ("list_orders", {"level": "INFO", "message": "request completed"}),
        ("authorizer", {"level": "INFO", "message": "token refused", "reason": "expired"}),
        ("reconcile_payments", {"level": "INFO", "message": "reconciler run completed", "settled": 1}),
    ],
)
def test_writes_failures_and_refusals_are_not_successful_reads(function: str, entry: dict[str, object]) -> None:
    assert not is_successful_read(function_line(function, **entry))


def test_unstructured_line_is_not_a_successful_read() -> None:
    assert not is_successful_read(line("Traceback: something"))


def handle_all(*lines: LogLine) -> tuple[list[str], list[Text]]:
    """Return the lines of the file and those of the terminal."""
    log, shown = io.StringIO(), list[Text]()
    handle = make_line_handler(log, shown.append)
    for each in lines:
        handle(each)
    return log.getvalue().splitlines(), shown


def of_invocation(invocation: str, line: LogLine) -> LogLine:
    return replace(line, invocation=invocation)


def test_successful_reads_are_written_to_the_file_only() -> None:
    in_file, shown = handle_all(function_line("list_products", **COMPLETED), function_line("create_order", **COMPLETED))

    assert ["list_products" in in_file[0], "create_order" in in_file[1]] == [True, True]
    assert ["create_order" in text.plain for text in shown] == [True]


def test_terminal_shows_the_end_of_a_request_only_if_it_has_no_other_line() -> None:
    created = function_line("create_order", level="INFO", message="order created")
    in_file, shown = handle_all(
        of_invocation("1", created),
        of_invocation("1", function_line("create_order", **COMPLETED)),
        of_invocation("2", function_line("initiate_payment", **COMPLETED)),
    )

    assert len(in_file) == 3
    assert ["order created" in shown[0].plain, "status=200" in shown[1].plain] == [True, True]
    assert len(shown) == 2


ORDER_ID = f"ord_{'7256edad736f48a3' * 2}"


def test_terminal_line_is_short_and_the_file_has_the_ids() -> None:
    ids = {"requestId": "31d518be-c22b-4d75-bb72-0c9dd7b79c9c", "orderId": ORDER_ID, "productId": "tea", "by": "alice"}

    (in_file,), (shown,) = handle_all(function_line("create_order", level="INFO", message="order created", **ids))

    assert shown.plain[8:] == " create_order         order created ord_7256edad productId=tea by=alice"
    assert all(value in in_file for value in ids.values())


def test_terminal_line_is_cut_at_the_width_and_its_traceback_is_not() -> None:
    entry = {"level": "ERROR", "message": "function failed", "reason": "long " * 30, "exception": "x" * 100}
    output = io.StringIO()
    console = Console(file=output, width=80)

    _, shown = handle_all(function_line("create_order", **entry))
    for text in shown:
        console.print(text, soft_wrap=True, overflow=text.overflow)

    summary, traceback = output.getvalue().splitlines()
    assert len(summary) == 80
    assert "create_order" in summary
    assert traceback == entry["exception"]
