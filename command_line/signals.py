"""Orderly shutdown on SIGINT, SIGTERM and SIGHUP."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PARENT_CHECK_SECONDS = 0.2

_defer_depth = 0
_deferred_signal: int | None = None


class Stopped(BaseException):
    """A stop signal arrived. Not an `Exception`, like `KeyboardInterrupt`, so that no error handler catches it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


def stop_on_signals() -> None:
    """Raise `Stopped` in the main thread on the first Ctrl-C, SIGTERM or SIGHUP."""
    for number in _STOP_SIGNALS:
        signal.signal(number, _on_signal)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Defer `Stopped` to the end of the block.

    A process that is started but not yet assigned would otherwise keep running.
    """
    global _defer_depth
    _defer_depth += 1
    try:
        yield
    finally:
        _defer_depth -= 1
        if _deferred_signal is not None and not _defer_depth:
            raise Stopped(_deferred_signal)


def stop_with_parent() -> None:
    """Stop this process when its parent ends.

    `make` does not forward SIGHUP or SIGKILL. The stack would keep running and hold the port of the next `make run`.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_CHECK_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _on_signal(signal_number: int, _frame: FrameType | None) -> None:
    global _deferred_signal
    # A second Ctrl-C during the shutdown would leave processes behind.
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if _defer_depth:
        _deferred_signal = signal_number
    else:
        raise Stopped(signal_number)
