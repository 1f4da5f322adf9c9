"""Progress output: a spinner or bar on a terminal, plain lines elsewhere."""

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
_MAX_STEP_COLUMNS = 64

Fraction = Callable[[], float]
"""Returns how much of a step is done, from 0 to 1."""


class Progress(Protocol):
    """Factory of a context manager that shows one step."""

    def __call__(self, name: str, fraction_done: Fraction | None = None) -> AbstractContextManager[None]:
        """Show the step `name` while the block runs, as a bar if `fraction_done` is given."""


def make_console() -> Console:
    if isinstance(sys.stdout, TextIOWrapper):
        # A terminal that cannot encode a character must not end a start-up.
        sys.stdout.reconfigure(errors="replace", line_buffering=True)
    return Console(highlight=False)


def width_of(console: Console) -> int | None:
    """Return the width in columns, from the terminal or from COLUMNS. `None` for a file or a pipe."""
    return console.width if console.is_terminal or "COLUMNS" in os.environ else None


def make_progress(console: Console) -> Progress:
    """Return a `Progress` that prints each step and its duration."""

    @contextmanager
    def step(name: str, fraction_done: Fraction | None = None) -> Iterator[None]:
        started = time.monotonic()
        if console.is_terminal:
            with _bar(name, fraction_done, console) if fraction_done else console.status(name):
                yield
        else:
            console.print(f"… {name}", markup=False)
            yield
        # The tick and the duration take ten columns.
        column = min(_MAX_STEP_COLUMNS, console.width - 10)
        console.print(f"[green]✓[/] {name:<{column}} [dim]{time.monotonic() - started:5.1f} s[/]", soft_wrap=True)

    return step


@contextmanager
def show_no_progress(name: str, fraction_done: Fraction | None = None) -> Iterator[None]:  # noqa: ARG001 - `Progress`
    yield


@contextmanager
def count_progress(console: Console, name: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar while the block runs. Yields a function to call after each of `total` items."""
    columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn())
    with RichProgress(*columns, console=console) as bar:
        task = bar.add_task(escape(name), total=total)
        yield lambda: bar.advance(task)


@contextmanager
def _bar(name: str, fraction_done: Fraction, console: Console) -> Iterator[None]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(None), TimeElapsedColumn())
    with RichProgress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=1.0)
        stop = threading.Event()

        def follow() -> None:
            while not stop.wait(_POLL_SECONDS):
                bar.update(task, completed=fraction_done())

        thread = threading.Thread(target=follow, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
