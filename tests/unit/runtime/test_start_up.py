"""The cold start of a function: first and last statement, garbage collection, warm-up and snapshots."""

from order_payments.runtime.start_up import finish_start

import ast
import gc
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import snapshot_restore_py
from botocore.exceptions import ClientError, NoCredentialsError
from mypy_boto3_dynamodb import DynamoDBClient

from command_line.project import PROJECT
from harness.functions import load_function
from order_payments.domain.errors import Busy, OrderNotFound, ProductNotFound

HANDLERS = {path.parent.name: path for path in sorted((PROJECT / "functions").glob("*/handler.py"))}
EARLY_INITIALIZATION_TYPES = ("snap-start", "provisioned-concurrency")


@pytest.fixture(autouse=True)
def unfreeze_garbage_collector() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.fixture
def restore_hooks(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """Return the hooks that Lambda's runtime calls after it restores a snapshot."""
    hooks: list[Callable[[], object]] = []
    monkeypatch.setattr(snapshot_restore_py, "register_after_restore", hooks.append)
    return hooks


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, dynamodb: DynamoDBClient) -> list[str]:
    """Return a list that receives the DynamoDB operations that the functions call."""
    called: list[str] = []

    def record(model: Any, **_: object) -> None:
        called.append(model.name)

    dynamodb.meta.events.register("before-call.dynamodb", record)
    monkeypatch.setattr("boto3.client", lambda *_, **__: dynamodb)
    return called


@pytest.mark.parametrize("function", HANDLERS)
def test_function_imports_the_start_up_first_and_finishes_it_last(function: str) -> None:
    _docstring, first, *_, last = ast.parse(HANDLERS[function].read_text()).body

    assert ast.unparse(first) in (
        "from order_payments.composition import Components",
        "from order_payments.runtime.start_up import finish_start",
    )
    assert re.match(r"(components\.)?finish_start\(", ast.unparse(last))


def test_garbage_collection_skips_the_objects_of_the_cold_start() -> None:
    gc.disable()

    finish_start()

    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


@pytest.mark.parametrize("kind", ["on-demand", "", "something new"])
def test_on_demand_start_does_not_warm_up(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", kind)
    warm_ups: list[int] = []

    finish_start(warm_up=lambda: warm_ups.append(1))

    assert warm_ups == []


@pytest.mark.parametrize("function", sorted(HANDLERS.keys() - {"authorizer", "publish_order_events"}))
@pytest.mark.parametrize("kind", EARLY_INITIALIZATION_TYPES)
def test_early_start_warms_up_with_a_read(
    monkeypatch: pytest.MonkeyPatch,
    reads: list[str],
    restore_hooks: list[Callable[[], object]],
    kind: str,
    function: str,
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", kind)

    load_function(function)

    assert len(reads) == 1
    assert reads[0] in ("GetItem", "Query", "Scan")
    assert len(restore_hooks) == (kind == "snap-start")


NOT_ALLOWED = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}}, "GetItem")


@pytest.mark.parametrize(
    ("error", "is_logged"),
    [
        (Busy("The database does not respond."), True),
        (NoCredentialsError(), True),
        (NOT_ALLOWED, True),
        (OrderNotFound("none"), False),
        (ProductNotFound("none"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_failed_warm_up_is_logged_and_does_not_stop_the_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, *, is_logged: bool
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "provisioned-concurrency")

    def warm_up() -> None:
        raise error

    finish_start(warm_up=warm_up)

    assert gc.isenabled()
    logged = [(line.levelname, line.getMessage(), line.exc_info and line.exc_info[1]) for line in caplog.records]
    assert logged == ([("WARNING", "warm-up failed", error)] if is_logged else [])


@pytest.mark.usefixtures("restore_hooks")
def test_connections_are_closed_before_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    calls: list[str] = []

    class Client:
        def close(self) -> None:
            calls.append("closed")

    finish_start(Client(), warm_up=lambda: calls.append("read"))  # type: ignore[arg-type] # only `close` is used

    assert calls == ["read", "closed"]


def test_environments_restored_from_one_snapshot_have_different_jitter(
    monkeypatch: pytest.MonkeyPatch, restore_hooks: list[Callable[[], object]]
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    finish_start()
    snapshot = random.getstate()

    def state_after_restoring() -> object:
        random.setstate(snapshot)
        for hook in restore_hooks:
            hook()
        return random.getstate()

    assert state_after_restoring() != state_after_restoring()
