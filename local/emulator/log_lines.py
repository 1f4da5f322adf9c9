"""A function's log line for people: one line an event, with its time, level, function, message and fields.

All of them go to `functions.log`. On the terminal, reads that succeeded are left out, because a console that is open
asks again every few seconds: what a person did would be gone from the screen at once.
"""

import json
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any, TextIO

from rich.text import Text

from local.emulator.function_logs import LogLine

_STYLES = {"DEBUG": "dim", "INFO": "green", "WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}
_OF_THE_PLATFORM = ("START RequestId:", "END RequestId:", "REPORT RequestId:")
# What every line has, or what is said already.
_LEFT_OUT = frozenset(
    {
        *("level", "message", "timestamp", "service", "location", "function_name", "function_request_id"),
        *("exception", "exception_name", "stack_trace", "xray_trace_id"),
    }
)
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
_METRICS = "_aws"
_WIDEST_FUNCTION = 21
_AUTHORIZER = "authorizer"
_READERS = ("get_", "list_")


def make_line_handler(log: TextIO, show: Callable[[Text], None]) -> Callable[[LogLine], None]:
    """What takes each line: `log` gets all that people read, and `show` that without the reads that succeeded."""

    def take(line: LogLine) -> None:
        if text := format_line(line):
            log.write(f"{text.plain}\n")
            if not is_successful_read(line):
                show(text)

    return take


def format_line(line: LogLine) -> Text | None:
    """The line as people read it, or None for what only the platform has to say, and for metrics."""
    if not line.message.strip() or line.message.startswith(_OF_THE_PLATFORM):
        return None
    entry = _parsed(line.message)
    if _METRICS in entry:
        return None
    time, level = _time_of(entry, line), str(entry.get("level", ""))
    text = Text(f"{time:%H:%M:%S}.{time.microsecond // 1000:03d} ", "dim")
    text.append(f"{level:<8}", _STYLES.get(level, ""))
    text.append(f"{_folder(entry):<{_WIDEST_FUNCTION}} ", "cyan")
    text.append(str(entry["message"]))
    for name, value in entry.items():
        if name not in _LEFT_OUT and value is not None:
            text.append(f" {name}=", "dim")
            text.append(str(value))
    if "exception" in entry:
        text.append(f"\n{entry['exception']}", "dim")
    return text


def is_successful_read(line: LogLine) -> bool:
    """Whether the line says no more than that somebody read something, or was let in: the call that follows tells why.

    What is refused, fails or changes anything is none, nor is a line above INFO.
    """
    entry = _parsed(line.message)
    if entry.get("level") != "INFO":
        return False
    function = _folder(entry)
    if function == _AUTHORIZER:
        return bool(entry["message"] == "token accepted")
    status = entry.get("status")
    return (
        function.startswith(_READERS)
        and entry["message"] == "request completed"
        and isinstance(status, int)
        and status < HTTPStatus.BAD_REQUEST
    )


def _parsed(message: str) -> dict[str, Any]:
    """The line's fields; of one that is not JSON of ours, its text as the message."""
    try:
        entry = json.loads(message)
    except ValueError:
        entry = None
    known = isinstance(entry, dict) and ("message" in entry or _METRICS in entry)
    return entry if known else {"message": message.rstrip()}


def _time_of(entry: dict[str, Any], line: LogLine) -> datetime:
    """When it was written. The platform gives all lines of a call the same time."""
    try:
        return datetime.fromisoformat(str(entry["timestamp"]).replace(",", ".")).astimezone()
    except (KeyError, ValueError):
        return datetime.fromtimestamp(line.timestamp / 1000).astimezone()


def _folder(entry: dict[str, Any]) -> str:
    """The folder of `order-payments-CreateOrderFunction-1A2B`, if that wrote the line; Python writes some by itself."""
    function = str(entry.get("function_name", ""))
    words = function.split("-")[2] if function.count("-") > 1 else function
    name = words.removesuffix("Function")
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).strip("_")
