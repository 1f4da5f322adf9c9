"""What the functions log. The emulator keeps it in its CloudWatch Logs; here it is read from there."""

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
_PAGE = 10_000
# Events of one millisecond may become visible at different moments, so the last of them are always read again.
_OVERLAP_MILLISECONDS = 5_000


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of one invocation, which has a log stream of its own here."""

    timestamp: int
    invocation: str
    position: int
    message: str


def read_lines(client: Any, since: int = 0) -> list[LogLine]:
    """All that the functions have logged since `since` (milliseconds since the epoch), in order."""
    found: dict[tuple[str, int], LogLine] = {}
    while True:
        # The emulator gives no token for the next page. All lines of one invocation have the same time, so the page
        # that begins with the last one's time begins with all of them.
        events = client.filter_log_events(logGroupName=_GROUP, startTime=since, limit=_PAGE)["events"]
        positions: dict[str, int] = {}
        for event in events:
            stream, time = event["logStreamName"], event["timestamp"]
            positions[stream] = position = positions.get(stream, -1) + 1
            found[stream, position] = LogLine(time, stream, position, event["message"])
        if len(events) < _PAGE or events[-1]["timestamp"] == since:
            return sorted(found.values(), key=lambda line: (line.timestamp, line.invocation, line.position))
        since = events[-1]["timestamp"]


@contextmanager
def follow_logs(emulator: Emulator, take: Callable[[LogLine], None]) -> Iterator[None]:
    """Hand each line that the functions log to `take` while the block runs, and the rest when the block is left."""
    client = emulator.client("logs")
    stop = threading.Event()

    def follow() -> None:
        taken: set[tuple[str, int]] = set()
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
                if (line.invocation, line.position) not in taken:
                    taken.add((line.invocation, line.position))
                    take(line)
                    last = max(last, line.timestamp)

    thread = threading.Thread(target=follow, name="function-logs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        client.close()
