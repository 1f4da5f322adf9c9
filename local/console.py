"""How progress is shown: a spinner or a bar, and a tick, on a terminal; plain lines elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import TextIOWrapper
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

_POLL_SECONDS = 0.2

Fraction = Callable[[], float]
"""How much of a step is done, from 0 to 1."""


class Progress(Protocol):
    """Enter it with the name of a step while the step is under way; `done` where somebody can tell how far it is."""

    def __call__(self, name: str, done: Fraction | None = None) -> AbstractContextManager[None]:
        """A step."""


def make_console() -> Console:
    """The console on standard output."""
    if isinstance(sys.stdout, TextIOWrapper):
        # Anything but an encoding error in the middle of a start-up.
        sys.stdout.reconfigure(errors="replace", line_buffering=True)
    return Console(highlight=False)


def progress_on(console: Console) -> Progress:
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
        console.print(f"[green]✓[/] {name:<64} [dim]{time.monotonic() - started:5.1f} s[/]")

    return step


@contextmanager
def silent(name: str, done: Fraction | None = None) -> Iterator[None]:  # noqa: ARG001 - as `Progress` has it
    """Show nothing."""
    yield


@contextmanager
def _bar(name: str, done: Fraction, console: Console) -> Iterator[None]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
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
