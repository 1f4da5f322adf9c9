"""Exit codes of commands."""

import sys

import typer

from command_line.errors import CommandError
from command_line.signals import Stopped


def run_program(app: typer.Typer, name: str) -> None:
    """Run the command line. Exit with 0 after Ctrl-C, and with 1 after a `CommandError`."""
    try:
        app(prog_name=name)
    except Stopped:
        sys.stdout.write("\nStopped.\n")
    except CommandError as error:
        sys.stderr.write(f"\n{error}\n")
        sys.exit(1)
