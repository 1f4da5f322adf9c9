"""The running stack, as other programs find it: by its lock, and by its description in `stack.json`."""

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from command_line.errors import CommandError
from command_line.project import STATE

DESCRIPTION = "stack.json"
"""In the state directory; the emulator's process removes it, too, in case ours was killed."""

# For one that was told to stop: to notice it, and to be done with it.
_NOTICE_SECONDS = 1
_STOP_SECONDS = 10
_POLL_SECONDS = 0.1


@contextmanager
def lock_state(state: Path) -> Iterator[None]:
    """Let one stack at a time use a state directory. The lock goes with its process, however that ends."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state / "lock").open("a") as lock:
        started = time.monotonic()
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                patience = _NOTICE_SECONDS if (state / DESCRIPTION).exists() else _STOP_SECONDS
                if time.monotonic() - started > patience:
                    raise CommandError(
                        "A stack of this checkout is running already, or being started. Stop it with Ctrl-C, or use "
                        f"it: its address is in {state / DESCRIPTION}."
                    ) from None
            time.sleep(_POLL_SECONDS)
        yield


def is_running(state: Path = STATE) -> bool:
    """Whether a stack runs in this state directory, or is being started."""
    try:
        with (state / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def find_running_stack(state: Path = STATE) -> dict[str, Any] | None:
    """The content of `stack.json`, if a stack runs. One that was killed leaves the file behind."""
    if not is_running(state):
        return None
    try:
        description: dict[str, Any] = json.loads((state / DESCRIPTION).read_text())
    except FileNotFoundError:
        return None
    return description


def require_running_stack() -> dict[str, Any]:
    """The content of `stack.json`. Raises `CommandError` where no stack is running."""
    description = find_running_stack()
    if description is None:
        raise CommandError("No stack is running. Start it in another terminal: make run")
    return description
