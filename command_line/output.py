"""How progress is shown: a spinner or a bar, and a tick, on a terminal; plain lines elsewhere."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import TextIOWrapper
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

_POLL_SECONDS = 0.2
_WIDEST_STEP = 64

Fraction = Callable[[], float]
"""How much of a step is done, from 0 to 1."""


class Progress(Protocol):
    """Enter it with the name of a step while the step is under way; `done` where somebody can tell how far it is."""

    def __call__(self, name: str, done: Fraction | None = None) -> AbstractContextManager[None]:
        """A step."""


def make_console() -> Console:
    if isinstance(sys.stdout, TextIOWrapper):
        # Anything but an encoding error in the middle of a start-up.
        sys.stdout.reconfigure(errors="replace", line_buffering=True)
    return Console(highlight=False)


def width_of(console: Console) -> int | None:
    """The columns of the terminal, or those that the user asks for; `None` where lines go to a file or a program."""
    return console.width if console.is_terminal or "COLUMNS" in os.environ else None


def make_progress(console: Console) -> Progress:
    """Show each step, and how long it took."""

    @contextmanager
    def step(name: str, done: Fraction | None = None) -> Iterator[None]:
        started = time.monotonic()
        if console.is_terminal:
            with _bar(name, done, console) if done else console.status(name):
                yield
        else:
            console.print(f"… {name}", markup=False)
            yield
        # The tick before it and the time after it take ten columns.
        column = min(_WIDEST_STEP, console.width - 10)
        console.print(f"[green]✓[/] {name:<{column}} [dim]{time.monotonic() - started:5.1f} s[/]", soft_wrap=True)

    return step


@contextmanager
def show_no_progress(name: str, done: Fraction | None = None) -> Iterator[None]:  # noqa: ARG001 - as `Progress` has it
    yield


@contextmanager
def count_progress(console: Console, name: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar until the block is left; what it gives is to be called for each one of `total` that is done."""
    columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn())
    with RichProgress(*columns, console=console) as bar:
        task = bar.add_task(escape(name), total=total)
        yield lambda: bar.advance(task)


@contextmanager
def _bar(name: str, done: Fraction, console: Console) -> Iterator[None]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(None), TimeElapsedColumn())
    with RichProgress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=1.0)
        stop = threading.Event()

        def follow() -> None:
            while not stop.wait(_POLL_SECONDS):
                bar.update(task, completed=done())

        thread = threading.Thread(target=follow, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
