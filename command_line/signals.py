"""Stopping in an orderly way, whichever signal asks for it and whenever it comes."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PARENT_CHECK_SECONDS = 0.2

_held = 0
_waiting: int | None = None


class Stopped(BaseException):
    """Somebody asked us to stop. Like `KeyboardInterrupt` it is no error, so nothing that handles errors sees it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


def stop_on_signals() -> None:
    """From now on Ctrl-C, a termination and a closed terminal raise `Stopped` in the main thread, once."""
    for number in _STOP_SIGNALS:
        signal.signal(number, _on_signal)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Put `Stopped` off until the block is done.

    For starting a process and taking hold of it: one that was started and not yet held would be left behind.
    """
    global _held
    _held += 1
    try:
        yield
    finally:
        _held -= 1
        if _waiting is not None and not _held:
            raise Stopped(_waiting)


def stop_with_parent() -> None:
    """Stop when the process that started us is gone.

    `make` hands a killed terminal or a SIGKILL on to nobody: without this the stack would go on serving, and keep
    the port from the next `make run`.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_CHECK_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _on_signal(signal_number: int, _frame: FrameType | None) -> None:
    global _waiting
    # Once is enough: a second Ctrl-C in the middle of stopping would leave processes behind.
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if _held:
        _waiting = signal_number
    else:
        raise Stopped(signal_number)
