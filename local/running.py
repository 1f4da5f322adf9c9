"""Discovery of the running stack by its lock and its description, `stack.json`."""

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from command_line.errors import CommandError
from command_line.project import STATE

DESCRIPTION = "stack.json"
"""File in the state directory. The emulator's process also removes it, in case this process was killed."""

# How long to wait for another stack that is being stopped: while its description still exists, and after that.
_STOP_NOTICE_SECONDS = 1
_STOP_SECONDS = 10
_POLL_SECONDS = 0.1


@contextmanager
def lock_state(state: Path) -> Iterator[None]:
    """Lock a state directory for one stack. The lock ends with the process."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state / "lock").open("a") as lock:
        started = time.monotonic()
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                max_seconds = _STOP_NOTICE_SECONDS if (state / DESCRIPTION).exists() else _STOP_SECONDS
                if time.monotonic() - started > max_seconds:
                    raise CommandError(_describe_other_stack(state)) from None
            time.sleep(_POLL_SECONDS)
        yield


def _describe_other_stack(state: Path) -> str:
    if description := find_running_stack(state):
        url = urlsplit(description["apiUrl"])._replace(path="/").geturl()
        return f"A stack of this checkout is already running at {url}. Use it, or stop it with Ctrl-C in its terminal."
    return "A stack of this checkout is starting or stopping. Wait until it is ready, or stop it with Ctrl-C."


def is_running(state: Path = STATE) -> bool:
    """Return whether a stack is running or starting in this state directory."""
    try:
        with (state / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def find_running_stack(state: Path = STATE) -> dict[str, Any] | None:
    """Return the content of `stack.json`, or `None` if no stack runs. A killed stack leaves the file behind."""
    if not is_running(state):
        return None
    try:
        description: dict[str, Any] = json.loads((state / DESCRIPTION).read_text())
    except FileNotFoundError:
        return None
    return description


def require_running_stack() -> dict[str, Any]:
    """Return the content of `stack.json`. Raises `CommandError` if no stack is running."""
    description = find_running_stack()
    if description is None and is_running():
        raise CommandError("The stack is starting. Run the command again when `make run` has printed the addresses.")
    if description is None:
        raise CommandError("No stack is running. Start it in another terminal: make run")
    return description
