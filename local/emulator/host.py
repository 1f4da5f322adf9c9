"""The emulator's process: `python -m local.emulator.host`, started by `local.emulator.process`."""

import hashlib
import json
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
from typing import Any
from weakref import WeakKeyDictionary

from ministack import app
from ministack.core import iam_evaluator, lambda_runtime
from ministack.services import apigateway_v1

from local.emulator.saved_tables import SavedTables
from local.emulator.sources import Sources, Version, find_folder
from local.gateway.guard import ProgramsOnly

_unpack_lock = threading.Lock()
# MiniStack unpacks a function and its layers below a directory with this prefix and the function's name.
_WORKER_PREFIX = "ministack-lambda-"


def main() -> None:
    """Serve the emulator until standard input is closed."""
    # Lambda workers run `sys.executable`. The virtual environment's packages would hide a requirement that a function
    # or a layer does not declare.
    sys.executable = getattr(sys, "_base_executable", sys.executable)
    sys.argv = ["ministack"]
    checkout = os.environ.get("LOCAL_STACK_SOURCES")
    sources = Sources(Path(checkout)) if checkout else None
    lambda_runtime.zipfile = SimpleNamespace(
        ZipFile=lambda path: nullcontext(_SharedArchive(path, sources)),
        BadZipFile=zipfile.BadZipFile,
        LargeZipFile=zipfile.LargeZipFile,
    )
    _treat_loopback_as_tls()
    _log_failures_with_function_name()
    if sources:
        _restart_workers_of_changed_functions(sources)
    _return_request_id_of_event()
    saved_tables = os.environ.get("LOCAL_STACK_SAVED_TABLES")
    tables = SavedTables(Path(saved_tables)) if saved_tables else None
    if tables:
        tables.restore_when_created()
    app.app = ProgramsOnly(app.app, os.environ.pop("LOCAL_STACK_KEY"))
    threading.Thread(target=_exit_when_stdin_closes, args=(tables,), name="input-watch", daemon=True).start()
    app.main()


def _treat_loopback_as_tls() -> None:
    """Treat loopback requests as TLS requests. The template's policies deny requests without TLS."""
    iam_evaluator._request_origin = ContextVar("request_origin", default=("127.0.0.1", True))
    app.pin_request_origin = lambda address, _: iam_evaluator.pin_request_origin(address, secure_transport=True)


_FAILED_START = """\
        _real_stdout.write(json.dumps({"status": "error", "error": str(e)}) + "\\n")
        _real_stdout.flush()
        return
"""
_FAIL_AT_INVOCATION = """\
        def handler_fn(event, context, error=e):
            raise error
        _real_stdout.write(json.dumps({"status": "ready", "cold": True}) + "\\n")
        _real_stdout.flush()
"""


def _log_failures_with_function_name() -> None:
    """Log an exception as one entry of the function. MiniStack 1.5.33 logs the lines, and none for a failed import."""
    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    if _FAILED_START not in script:
        raise RuntimeError("MiniStack reports a failed import in another way. Adapt _FAILED_START to it.")
    # The first invocation then raises the exception of the import. As on AWS, the next one imports again.
    lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(_FAILED_START, _FAIL_AT_INVOCATION)
    invoke = lambda_runtime.Worker.invoke

    def invoke_and_log(worker: lambda_runtime.Worker, *args: Any, **options: Any) -> dict[str, Any]:
        result: dict[str, Any] = invoke(worker, *args, **options)
        if result.get("status") == "error":
            result["trace"] = describe_failure(worker.func_name, result["error"], result.get("trace"))
        return result

    lambda_runtime.Worker.invoke = invoke_and_log


def describe_failure(function: str, error: str, trace: str | None) -> str:
    """Return the log entry of a failed invocation, in the form of the functions' own entries.

    It is empty for the error by which an authorizer refuses a token:
    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html
    """
    if error == "Unauthorized":
        return ""
    entry = {"level": "ERROR", "message": "function failed", "function_name": function, "exception": trace or error}
    return json.dumps(entry)


def _restart_workers_of_changed_functions(sources: Sources) -> None:
    """Run each invocation with the current sources. A worker that runs older ones is replaced first."""
    # Bytecode is compared with its source by the second. Without bytecode, no change in the same second is missed.
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    invoke = lambda_runtime.Worker.invoke
    versions: WeakKeyDictionary[lambda_runtime.Worker, Version] = WeakKeyDictionary()

    def invoke_current(worker: lambda_runtime.Worker, *args: Any, **options: Any) -> dict[str, Any]:
        function = find_folder(worker.func_name)
        version = sources.read_version(function)
        if worker._proc is not None and version != versions.get(worker, sources.built_version(function)):
            worker.kill()
        versions[worker] = version
        result: dict[str, Any] = invoke(worker, *args, **options)
        return result

    lambda_runtime.Worker.invoke = invoke_current


def _return_request_id_of_event() -> None:
    """Return the function's request id as `x-amzn-RequestId`, as API Gateway does. MiniStack 1.5.33 returns another."""
    request_id: ContextVar[str] = ContextVar("request_id")
    build_event, invoke = apigateway_v1._build_lambda_event_v1, apigateway_v1._invoke_lambda_proxy_v1

    def build_event_and_keep_id(*args: Any, **options: Any) -> dict[str, Any]:
        event: dict[str, Any] = build_event(*args, **options)
        request_id.set(event["requestContext"]["requestId"])
        return event

    async def invoke_and_return_id(*args: Any, **options: Any) -> Any:
        response = await invoke(*args, **options)
        if isinstance(response, tuple):  # anything else is an error before the invocation
            response[1]["x-amzn-requestid"] = request_id.get()
        return response

    apigateway_v1._build_lambda_event_v1 = build_event_and_keep_id
    apigateway_v1._invoke_lambda_proxy_v1 = invoke_and_return_id


def _exit_when_stdin_closes(tables: SavedTables | None) -> None:
    """End this process when its parent closes the pipe on standard input or ends, SIGKILL included. Save `tables`."""
    while os.read(0, 1):
        pass
    # A killed stack must not look like a running one.
    Path(os.environ["LOCAL_STACK_DESCRIPTION"]).unlink(missing_ok=True)
    try:
        lambda_runtime.reset()  # stops the workers and waits for them, so that no zombie remains
        if tables:
            tables.save()
    finally:
        os.killpg(os.getpgrp(), signal.SIGKILL)


class _SharedArchive:
    """Archive that is unpacked once for all workers.

    MiniStack unpacks a function and its layers for each worker: thousands of files, which add four seconds to each cold
    start, one worker after another. 32 concurrent payments are 32 cold starts.
    """

    def __init__(self, path: str, sources: Sources | None = None) -> None:
        self._path = Path(path)
        self._sources = sources

    def namelist(self) -> list[str]:
        """Return no names to check. `zipfile` extracts no file outside the directory."""
        return []

    def extractall(self, path: str) -> None:
        """Replace the directory with a link to the shared copy, or fill it with links if the sources changed."""
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
        function = find_folder(self._path.parent.name.removeprefix(_WORKER_PREFIX))
        if self._sources and self._sources.read_version(function) != self._sources.built_version(function):
            self._sources.link(function, shared, Path(path))
            return
        Path(path).rmdir()
        Path(path).symlink_to(shared, target_is_directory=True)


if __name__ == "__main__":
    main()
