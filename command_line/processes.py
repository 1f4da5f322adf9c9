"""Child processes that never outlive us."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from command_line.errors import CommandError
from command_line.signals import defer_signals

_LINES_SHOWN = 25
_POLL_SECONDS = 0.02
_KILL_SECONDS = 2


def run_command(
    command: Sequence[str | Path], *, environment: Mapping[str, str], directory: Path, log: Path, label: str
) -> None:
    """Run a command with its output in `log`. Raises `CommandError` with the end of that output if it fails."""
    with start_process(command, environment=environment, directory=directory, log=log, stop_seconds=0) as process:
        code = process.wait()
    if code != 0:
        shown = "\n".join(log.read_text(errors="replace").splitlines()[-_LINES_SHOWN:])
        raise CommandError(f"{label} failed (exit code {code}). The end of {log}:\n\n{shown}")


@contextmanager
def start_process(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    directory: Path,
    log: Path | None,
    stop_seconds: float,
    stdin: int = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs until the block is left; it is then asked to end, and has `stop_seconds` seconds to do so.

    It is asked by the end of its input, if `stdin` is a pipe, and by a termination otherwise. Its output goes to `log`,
    or without one to where ours goes. It has a session of its own, so that its whole family can be ended, and so that
    Ctrl-C is ours alone.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with defer_signals(), log.open("ab") if log else nullcontext() as output:
            process = subprocess.Popen(
                [str(part) for part in command],
                env=dict(environment),
                cwd=directory,
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT if log else None,
                start_new_session=True,
            )
        yield process
    except FileNotFoundError as missing:
        if process is None:
            raise CommandError(f"{command[0]} is missing. `make setup` installs it.") from missing
        raise
    finally:
        if process is not None:
            _stop(process, stop_seconds)


def _stop(process: subprocess.Popen[bytes], stop_seconds: float) -> None:
    if process.stdin is not None:
        process.stdin.close()
    elif stop_seconds:
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(stop_seconds)
    deadline = time.monotonic() + _KILL_SECONDS
    while _kill_group(process.pid) and time.monotonic() < deadline:
        process.poll()
        time.sleep(_POLL_SECONDS)
    process.wait()


def _kill_group(group: int) -> bool:
    """Whether there was still somebody to kill."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # macOS answers "not permitted" for a group of which only zombies are left.
        return False
    return True
