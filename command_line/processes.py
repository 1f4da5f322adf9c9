"""Child processes that never outlive us."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from command_line.errors import CommandError
from command_line.signals import signals_held

_LINES_SHOWN = 25
_POLL_SECONDS = 0.02
_KILL_SECONDS = 2


def run_to_end(
    command: Sequence[str | Path], *, environment: Mapping[str, str], directory: Path, log: Path, what: str
) -> None:
    """Run a command with its output in `log`. Raises `CommandError` with the end of that output if it fails."""
    with running(command, environment=environment, directory=directory, log=log, patience=0) as process:
        code = process.wait()
    if code != 0:
        shown = "\n".join(log.read_text(errors="replace").splitlines()[-_LINES_SHOWN:])
        raise CommandError(f"{what} failed (exit code {code}). The end of {log}:\n\n{shown}")


@contextmanager
def running(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    directory: Path,
    log: Path | None,
    patience: float,
    stdin: int = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs until the block is left; it is then asked to end, and has `patience` seconds to do so.

    It is asked by the end of its input, if `stdin` is a pipe, and by a termination otherwise. Its output goes to `log`,
    or without one to where ours goes. It has a session of its own, so that its whole family can be ended, and so that
    Ctrl-C is ours alone.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with signals_held(), log.open("ab") if log else nullcontext() as output:
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
            _stop(process, patience)


def _stop(process: subprocess.Popen[bytes], patience: float) -> None:
    if process.stdin is not None:
        process.stdin.close()
    elif patience:
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience)
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
