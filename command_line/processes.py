"""Child processes that end with this process."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from command_line.errors import CommandError
from command_line.signals import defer_signals

_MAX_LOG_LINES_SHOWN = 25
_POLL_SECONDS = 0.02
_KILL_TIMEOUT_SECONDS = 2


def run_command(
    command: Sequence[str | Path], *, environment: Mapping[str, str], directory: Path, log: Path, label: str
) -> None:
    """Run a command with its output in `log`. Raises `CommandError` with the last lines of `log` if it fails."""
    with start_process(command, environment=environment, directory=directory, log=log, stop_seconds=0) as process:
        code = process.wait()
    if code != 0:
        shown = "\n".join(log.read_text(errors="replace").splitlines()[-_MAX_LOG_LINES_SHOWN:])
        raise CommandError(f"{label} failed with exit code {code}. Last lines of {log}:\n\n{shown}")


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
    """Run a command while the block runs, then stop it. After `stop_seconds` it is killed with its descendants.

    To stop the command, its standard input is closed if `stdin` is a pipe; otherwise it receives SIGTERM. Its output
    goes to `log`, or to this process's output without one. The command runs in a session of its own, so that Ctrl-C
    does not reach it and its whole process group can be killed.
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
            raise CommandError(f"{command[0]} is not installed. To install it: make setup") from missing
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
    deadline = time.monotonic() + _KILL_TIMEOUT_SECONDS
    while _kill_group(process.pid) and time.monotonic() < deadline:
        process.poll()
        time.sleep(_POLL_SECONDS)
    process.wait()


def _kill_group(group: int) -> bool:
    """Kill the process group. Return whether it still existed."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # macOS reports "not permitted" for a group of zombies.
        return False
    return True
