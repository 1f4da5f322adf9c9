"""How progress is shown: a spinner and a tick on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import TextIOWrapper

from rich.console import Console

Progress = Callable[[str], AbstractContextManager[None]]
"""Enter it with the name of a step while the step is under way."""


def make_console() -> Console:
    """The console on standard output."""
    if isinstance(sys.stdout, TextIOWrapper):
        # Anything but an encoding error in the middle of a start-up.
        sys.stdout.reconfigure(errors="replace", line_buffering=True)
    return Console(highlight=False)


def progress_on(console: Console) -> Progress:
    """Show each step, and how long it took."""

    @contextmanager
    def step(name: str) -> Iterator[None]:
        started = time.monotonic()
        if console.is_terminal:
            with console.status(name):
                yield
        else:
            console.print(f"… {name}", markup=False)
            yield
        console.print(f"[green]✓[/] {name:<64} [dim]{time.monotonic() - started:5.1f} s[/]")

    return step


@contextmanager
def silent(_name: str) -> Iterator[None]:
    """Show nothing."""
    yield
