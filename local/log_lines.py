"""A function's log line for people: one line an event, with its time, level, function, message and fields."""

import json
from datetime import datetime
from typing import Any

from rich.text import Text

from local.function_logs import LogLine

_STYLES = {"DEBUG": "dim", "INFO": "green", "WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}
_OF_THE_PLATFORM = ("START RequestId:", "END RequestId:", "REPORT RequestId:")
# What every line has, or what is said already.
_LEFT_OUT = frozenset(
    {
        *("level", "message", "timestamp", "service", "location", "function_request_id"),
        *("exception", "exception_name", "stack_trace", "xray_trace_id"),
    }
)
_WIDEST_FUNCTION = 21


def readable(line: LogLine) -> Text | None:
    """The line as people read it, or None for what only the platform has to say."""
    if not line.message.strip() or line.message.startswith(_OF_THE_PLATFORM):
        return None
    entry = _parsed(line.message)
    time, level = _time_of(entry, line), str(entry.get("level", ""))
    text = Text(f"{time:%H:%M:%S}.{time.microsecond // 1000:03d} ", "dim")
    text.append(f"{level:<8}", _STYLES.get(level, ""))
    text.append(f"{_folder(line.function):<{_WIDEST_FUNCTION}} ", "cyan")
    text.append(str(entry["message"]))
    for name, value in entry.items():
        if name not in _LEFT_OUT and value is not None:
            text.append(f" {name}=", "dim")
            text.append(str(value))
    if "exception" in entry:
        text.append(f"\n{entry['exception']}", "dim")
    return text


def _parsed(message: str) -> dict[str, Any]:
    """The line's fields; of one that is not JSON of ours, its text as the message."""
    try:
        entry = json.loads(message)
    except ValueError:
        entry = None
    return entry if isinstance(entry, dict) and "message" in entry else {"message": message.rstrip()}


def _time_of(entry: dict[str, Any], line: LogLine) -> datetime:
    """When it was written. The platform gives all lines of a call the same time."""
    try:
        return datetime.fromisoformat(str(entry["timestamp"]).replace(",", ".")).astimezone()
    except (KeyError, ValueError):
        return datetime.fromtimestamp(line.timestamp / 1000).astimezone()


def _folder(function: str) -> str:
    """`order-payments-CreateOrderFunction-1A2B` as its folder is called."""
    words = function.split("-")[2] if function.count("-") > 1 else function
    name = words.removesuffix("Function")
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).strip("_")
