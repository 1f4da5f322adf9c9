"""The emulator's own process: `python -m local.emulator.host`. Only `local.emulator.process` starts it."""

import hashlib
import os
import signal
import sys
import tempfile
import threading
import zipfile
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace

from ministack import app
from ministack.core import iam_evaluator, lambda_runtime

from local.gateway.guard import ProgramsOnly

_unpacking = threading.Lock()


def main() -> None:
    """Serve the emulator until its standard input ends."""
    # Its Lambda workers run `sys.executable`. This one is the virtual environment's, whose packages would hide what
    # a function or a layer forgot to bring along.
    sys.executable = getattr(sys, "_base_executable", sys.executable)
    sys.argv = ["ministack"]
    lambda_runtime.zipfile = SimpleNamespace(
        ZipFile=lambda path: nullcontext(_SharedArchive(path)),
        BadZipFile=zipfile.BadZipFile,
        LargeZipFile=zipfile.LargeZipFile,
    )
    _take_the_loopback_for_secure()
    app.app = ProgramsOnly(app.app, os.environ.pop("LOCAL_STACK_KEY"))
    threading.Thread(target=_end_with_input, name="input-watch", daemon=True).start()
    app.main()


def _take_the_loopback_for_secure() -> None:
    """Let in what calls without TLS. Policies that refuse it, as the template's do, would let nobody in here."""
    iam_evaluator._request_origin = ContextVar("request_origin", default=("127.0.0.1", True))
    app.pin_request_origin = lambda address, _: iam_evaluator.pin_request_origin(address, secure_transport=True)


def _end_with_input() -> None:
    """Standard input is a pipe from our parent: it ends when our parent wants us to, or is gone, SIGKILL included."""
    while os.read(0, 1):
        pass
    # Nobody may take a stack that was killed for one that runs.
    Path(os.environ["LOCAL_STACK_DESCRIPTION"]).unlink(missing_ok=True)
    lambda_runtime.reset()  # ends the workers and waits for them, so that no zombie stays
    os.killpg(os.getpgrp(), signal.SIGKILL)


class _SharedArchive:
    """Unpacks an archive where all workers share it, as `/var/task` and `/opt` are shared on Lambda.

    MiniStack unpacks a function and its layers for each worker anew: thousands of files, and four seconds of a cold
    start, one worker after the other. Thirty-two payments at once are thirty-two cold starts.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def namelist(self) -> list[str]:
        """Nothing to check: `zipfile` lets no name out of the directory."""
        return []

    def extractall(self, path: str) -> None:
        """Put a link to the one unpacked copy in the place of the directory."""
        shared = Path(os.environ["LOCAL_STACK_UNPACKED"]) / hashlib.sha256(self._path.read_bytes()).hexdigest()
        with _unpacking:
            if not shared.exists():
                shared.parent.mkdir(exist_ok=True)
                unfinished = tempfile.mkdtemp(dir=shared.parent)
                with zipfile.ZipFile(self._path) as archive:
                    archive.extractall(unfinished)
                with suppress(OSError):  # another emulator was faster
                    Path(unfinished).rename(shared)
            os.utime(shared)
        Path(path).rmdir()
        Path(path).symlink_to(shared, target_is_directory=True)


if __name__ == "__main__":
    main()
