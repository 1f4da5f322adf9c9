"""Functions on the emulator: log entries of failures, and the request id of a response."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ministack.core import lambda_runtime
from ministack.services import apigateway_v1

from local.emulator.host import (
    _FAIL_AT_INVOCATION,
    _FAILED_START,
    _return_request_id_of_event,
    describe_failure,
)


def run_worker(code: Path, *events: object) -> list[dict[str, object]]:
    """Return the responses of MiniStack's worker to its start and to each event."""
    script = lambda_runtime._PYTHON_WORKER_SCRIPT.replace(_FAILED_START, _FAIL_AT_INVOCATION)
    start = {"code_dir": str(code), "module": "handler", "handler": "handler"}
    lines = [json.dumps(start), *(json.dumps({"event": event}) for event in events)]
    completed = subprocess.run(
        [sys.executable, "-c", script], input="\n".join(lines), capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in completed.stdout.splitlines()]


@pytest.mark.parametrize("source", ["import no_such_module\n", "def handler(event, context)\n"])
def test_failed_import_is_the_error_of_the_first_invocation_with_its_traceback(tmp_path: Path, source: str) -> None:
    (tmp_path / "handler.py").write_text(source)

    started, response = run_worker(tmp_path, {})

    assert (started["status"], response["status"]) == ("ready", "error")
    assert source.strip() in str(response["trace"])
    assert "handler.py" in str(response["trace"])


def test_failure_is_one_entry_with_the_functions_name_and_traceback() -> None:
    entry = describe_failure("order-payments-CreateOrderFunction-1A2B", "boom", "Traceback\n  boom\n")

    assert "\n" not in entry
    assert json.loads(entry) == {
        "level": "ERROR",
        "message": "function failed",
        "function_name": "order-payments-CreateOrderFunction-1A2B",
        "exception": "Traceback\n  boom\n",
    }


def test_failure_without_traceback_has_its_message() -> None:
    assert json.loads(describe_failure("f", "Task timed out after 3.00 seconds", None))["exception"] == (
        "Task timed out after 3.00 seconds"
    )


def test_refused_token_is_not_a_failure() -> None:
    assert describe_failure("order-payments-AuthorizerFunction-1A2B", "Unauthorized", "Traceback\n") == ""


def test_response_has_the_request_id_of_the_functions_event(monkeypatch: pytest.MonkeyPatch) -> None:
    async def invoke() -> tuple[int, dict[str, Any], bytes]:
        event = apigateway_v1._build_lambda_event_v1()
        return 200, {}, event["requestContext"]["requestId"].encode()

    monkeypatch.setattr(apigateway_v1, "_build_lambda_event_v1", lambda: {"requestContext": {"requestId": "id-1"}})
    monkeypatch.setattr(apigateway_v1, "_invoke_lambda_proxy_v1", invoke)

    _return_request_id_of_event()

    assert asyncio.run(apigateway_v1._invoke_lambda_proxy_v1()) == (200, {"x-amzn-requestid": "id-1"}, b"id-1")
