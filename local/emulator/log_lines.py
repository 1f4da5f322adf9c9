"""Readable log lines of the functions: time, level, function, message and fields.

`functions.log` gets all of them. The terminal gets one short line per event. It omits successful reads, because an open
console polls every few seconds and would scroll everything else off the screen.
"""

import json
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any, TextIO

from rich.text import Text

from local.emulator.function_logs import LogLine
from local.emulator.sources import find_folder

_STYLES = {"DEBUG": "dim", "INFO": "green", "WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}
_PLATFORM_PREFIXES = ("START RequestId:", "END RequestId:", "REPORT RequestId:")
# Fields that every line has, or that are printed elsewhere in the line.
_OMITTED_FIELDS = frozenset(
    {
        *("level", "message", "timestamp", "service", "location", "function_name", "function_request_id"),
        *("exception", "exception_name", "stack_trace", "xray_trace_id"),
    }
)
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
_METRICS_KEY = "_aws"
_FUNCTION_COLUMNS = 21
_AUTHORIZER = "authorizer"
_COMPLETED = "request completed"
_SHORT_ORDER_ID = len("ord_") + 8
_READ_PREFIXES = ("get_", "list_")


def make_line_handler(log: TextIO, show: Callable[[Text], None]) -> Callable[[LogLine], None]:
    """Return a function that writes readable lines to `log`, and passes one short line per event to `show`.

    The end of a request is shown only if the request has no other line. The lines of an invocation are consecutive.
    """
    last_shown = ""

    def handle(line: LogLine) -> None:
        nonlocal last_shown
        if text := format_line(line):
            log.write(f"{text.plain}\n")
            entry = _parse(line.message)
            is_repeated = entry["message"] == _COMPLETED and line.invocation == last_shown
            if not is_repeated and not is_successful_read(line):
                show(_format_short(entry, line))
                if "exception" in entry:
                    show(Text(str(entry["exception"]), "dim"))
                last_shown = line.invocation

    return handle


def format_line(line: LogLine) -> Text | None:
    """Return the readable line, or `None` for platform lines and metrics."""
    if not line.message.strip() or line.message.startswith(_PLATFORM_PREFIXES):
        return None
    entry = _parse(line.message)
    if _METRICS_KEY in entry:
        return None
    time, level = _parse_time(entry, line), str(entry.get("level", ""))
    text = Text(f"{time:%H:%M:%S}.{time.microsecond // 1000:03d} ", "dim")
    text.append(f"{level:<8}", _STYLES.get(level, ""))
    text.append(f"{_function_folder(entry):<{_FUNCTION_COLUMNS}} ", "cyan")
    text.append(str(entry["message"]))
    for name, value in entry.items():
        if name not in _OMITTED_FIELDS and value is not None:
            text.append(f" {name}=", "dim")
            text.append(str(value))
    if "exception" in entry:
        text.append(f"\n{entry['exception']}", "dim")
    return text


def _format_short(entry: dict[str, Any], line: LogLine) -> Text:
    """Return a line that is cut at the width of the terminal. Ids are omitted, except those of orders and products."""
    level = str(entry.get("level", ""))
    text = Text(f"{_parse_time(entry, line):%H:%M:%S} ", "dim", overflow="ellipsis")
    text.append(f"{_function_folder(entry):<{_FUNCTION_COLUMNS}}", "cyan")
    text.append(f"{entry['message']}", _STYLES.get(level, "") if level != "INFO" else "")
    for name, value in entry.items():
        if name == "orderId":
            text.append(f" {str(value)[:_SHORT_ORDER_ID]}")
        elif name not in _OMITTED_FIELDS and value is not None and (name == "productId" or not name.endswith("Id")):
            text.append(f" {name}=", "dim")
            text.append(str(value))
    return text


def is_successful_read(line: LogLine) -> bool:
    """Return whether the line records a successful read or authorization, at level INFO."""
    entry = _parse(line.message)
    if entry.get("level") != "INFO":
        return False
    function = _function_folder(entry)
    if function == _AUTHORIZER:
        return bool(entry["message"] == "token accepted")
    status = entry.get("status")
    return (
        function.startswith(_READ_PREFIXES)
        and entry["message"] == _COMPLETED
        and isinstance(status, int)
        and status < HTTPStatus.BAD_REQUEST
    )


def _parse(message: str) -> dict[str, Any]:
    """Return the line's fields. A line that is not JSON of a function has its text as `message`."""
    try:
        entry = json.loads(message)
    except ValueError:
        entry = None
    is_known = isinstance(entry, dict) and ("message" in entry or _METRICS_KEY in entry)
    return entry if is_known else {"message": message.rstrip()}


def _parse_time(entry: dict[str, Any], line: LogLine) -> datetime:
    """Return the line's own time. The platform's time is the same for all lines of an invocation."""
    try:
        return datetime.fromisoformat(str(entry["timestamp"]).replace(",", ".")).astimezone()
    except (KeyError, ValueError):
        return datetime.fromtimestamp(line.timestamp / 1000).astimezone()


def _function_folder(entry: dict[str, Any]) -> str:
    """Return the folder of the function that wrote the entry. Empty if unknown."""
    return find_folder(str(entry.get("function_name", "")))
