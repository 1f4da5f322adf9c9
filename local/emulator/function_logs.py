"""Log lines of the functions, read from the emulator's CloudWatch Logs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local.emulator.deploy import STACK_NAME
from local.emulator.process import Emulator

_GROUP = f"/aws/lambda/{STACK_NAME}"
_POLL_SECONDS = 2.0
_MAX_PAGE_EVENTS = 10_000
# Events can become visible late, so the last seconds are read again.
_OVERLAP_MILLISECONDS = 5_000


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of an invocation. On the emulator each invocation has its own log stream."""

    timestamp: int
    invocation: str
    position: int
    message: str


def read_lines(client: Any, since: int = 0) -> list[LogLine]:
    """Return all log lines since `since` (milliseconds since the epoch), in order."""
    found: dict[tuple[str, int], LogLine] = {}
    while True:
        # The emulator returns no token for the next page. All lines of an invocation have the same time, so a page that
        # starts at the last line's time repeats all lines of that invocation.
        events = client.filter_log_events(logGroupName=_GROUP, startTime=since, limit=_MAX_PAGE_EVENTS)["events"]
        positions: dict[str, int] = {}
        for event in events:
            stream, time = event["logStreamName"], event["timestamp"]
            positions[stream] = position = positions.get(stream, -1) + 1
            found[stream, position] = LogLine(time, stream, position, event["message"])
        if len(events) < _MAX_PAGE_EVENTS or events[-1]["timestamp"] == since:
            return sorted(found.values(), key=lambda line: (line.timestamp, line.invocation, line.position))
        since = events[-1]["timestamp"]


@contextmanager
def follow_logs(emulator: Emulator, handle: Callable[[LogLine], None]) -> Iterator[None]:
    """Call `handle` for each log line while the block runs, and for the remaining lines at its end."""
    client = emulator.client("logs")
    stop = threading.Event()

    def follow() -> None:
        handled: set[tuple[str, int]] = set()
        last = 0
        stopping = False
        while not stopping:
            stopping = stop.wait(_POLL_SECONDS)
            since = max(0, last - _OVERLAP_MILLISECONDS)
            try:
                lines = read_lines(client, since)
            except (BotoCoreError, ClientError):
                continue  # the emulator is busy or gone
            for line in lines:
                if (line.invocation, line.position) not in handled:
                    handled.add((line.invocation, line.position))
                    handle(line)
                    last = max(last, line.timestamp)

    thread = threading.Thread(target=follow, name="function-logs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        client.close()
