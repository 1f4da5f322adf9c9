"""The emulator's process: `python -m local.emulator.host`, started by `local.emulator.process`."""

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

_unpack_lock = threading.Lock()


def main() -> None:
    """Serve the emulator until standard input is closed."""
    # Lambda workers run `sys.executable`. The virtual environment's packages would hide a requirement that a function
    # or a layer does not declare.
    sys.executable = getattr(sys, "_base_executable", sys.executable)
    sys.argv = ["ministack"]
    lambda_runtime.zipfile = SimpleNamespace(
        ZipFile=lambda path: nullcontext(_SharedArchive(path)),
        BadZipFile=zipfile.BadZipFile,
        LargeZipFile=zipfile.LargeZipFile,
    )
    _treat_loopback_as_tls()
    app.app = ProgramsOnly(app.app, os.environ.pop("LOCAL_STACK_KEY"))
    threading.Thread(target=_exit_when_stdin_closes, name="input-watch", daemon=True).start()
    app.main()


def _treat_loopback_as_tls() -> None:
    """Treat loopback requests as TLS requests. The template's policies deny requests without TLS."""
    iam_evaluator._request_origin = ContextVar("request_origin", default=("127.0.0.1", True))
    app.pin_request_origin = lambda address, _: iam_evaluator.pin_request_origin(address, secure_transport=True)


def _exit_when_stdin_closes() -> None:
    """End this process when its parent closes the pipe on standard input or ends, SIGKILL included."""
    while os.read(0, 1):
        pass
    # A killed stack must not look like a running one.
    Path(os.environ["LOCAL_STACK_DESCRIPTION"]).unlink(missing_ok=True)
    lambda_runtime.reset()  # stops the workers and waits for them, so that no zombie remains
    os.killpg(os.getpgrp(), signal.SIGKILL)


class _SharedArchive:
    """Archive that is unpacked once for all workers.

    MiniStack unpacks a function and its layers for each worker: thousands of files, which add four seconds to each cold
    start, one worker after another. 32 concurrent payments are 32 cold starts.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def namelist(self) -> list[str]:
        """Return no names to check. `zipfile` extracts no file outside the directory."""
        return []

    def extractall(self, path: str) -> None:
        """Replace the directory with a link to the shared copy."""
        shared = Path(os.environ["LOCAL_STACK_UNPACKED"]) / hashlib.sha256(self._path.read_bytes()).hexdigest()
        with _unpack_lock:
            if not shared.exists():
                shared.parent.mkdir(exist_ok=True)
                unfinished = tempfile.mkdtemp(dir=shared.parent)
                with zipfile.ZipFile(self._path) as archive:
                    archive.extractall(unfinished)
                with suppress(OSError):  # another emulator renamed its copy first
                    Path(unfinished).rename(shared)
            os.utime(shared)
        Path(path).rmdir()
        Path(path).symlink_to(shared, target_is_directory=True)


if __name__ == "__main__":
    main()
