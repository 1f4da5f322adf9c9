"""Changed sources on the emulator: which workers are replaced, and which files they run."""

import os
from pathlib import Path
from typing import Any

import pytest
from ministack.core import lambda_runtime

from local.emulator.host import _restart_workers_of_changed_functions
from local.emulator.sources import Sources, find_folder

FUNCTION = "order-payments-CreateOrderFunction-1A2B"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in {
        "functions/create_order/handler.py": "import helper\n",
        "functions/get_product/handler.py": "",
        "layers/common/order_payments/__init__.py": "",
        "layers/aws_sdk/requirements.txt": "boto3\n",
    }.items():
        write(tmp_path / "checkout" / name, text)
    return tmp_path / "checkout"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class FakeWorker:
    """A worker of MiniStack, whose process is the version of the sources that it runs."""

    func_name = FUNCTION

    def __init__(self, checkout: Path) -> None:
        self._handler = checkout / "functions/create_order/handler.py"
        self._proc: str | None = None

    def invoke(self) -> dict[str, Any]:
        self._proc = self._proc or self._handler.read_text()
        return {"result": self._proc}

    def kill(self) -> None:
        self._proc = None


@pytest.fixture
def worker(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(lambda_runtime, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "invoke", FakeWorker.invoke)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "")
    _restart_workers_of_changed_functions(Sources(checkout))
    return FakeWorker(checkout)


def test_invocation_after_a_change_runs_the_changed_code(worker: Any, checkout: Path) -> None:
    first = worker.invoke()
    write(checkout / "functions/create_order/handler.py", "changed = True\n")

    assert (first, worker.invoke()) == ({"result": "import helper\n"}, {"result": "changed = True\n"})


@pytest.mark.parametrize(
    ("path", "is_replaced"),
    [
        ("layers/common/order_payments/__init__.py", True),
        ("functions/create_order/new.py", True),
        ("functions/get_product/handler.py", False),
        ("layers/aws_sdk/requirements.txt", False),
    ],
)
def test_only_workers_of_changed_code_are_replaced(worker: Any, checkout: Path, path: str, is_replaced: bool) -> None:
    worker.invoke()
    worker._proc = "running"
    write(checkout / path, "changed = True\n")

    assert (worker.invoke() != {"result": "running"}) == is_replaced


def test_change_back_is_a_change(worker: Any, checkout: Path) -> None:
    handler = checkout / "functions/create_order/handler.py"
    built = handler.stat()
    worker.invoke()
    write(handler, "changed = True\n")
    worker.invoke()
    write(handler, "import helper\n")
    os.utime(handler, ns=(built.st_atime_ns, built.st_mtime_ns))

    assert worker.invoke() == {"result": "import helper\n"}


def test_changed_function_is_linked_beside_its_requirements(checkout: Path, tmp_path: Path) -> None:
    unpacked, path = tmp_path / "unpacked", tmp_path / "code"
    for name in ("handler.py", "jwt/__init__.py", "__pycache__/handler.cpython-311.pyc"):
        write(unpacked / name, "built\n")
    path.mkdir()

    Sources(checkout).link("create_order", unpacked, path)

    assert (path / "handler.py").read_text() == "import helper\n"
    assert (path / "jwt/__init__.py").read_text() == "built\n"
    assert not (path / "__pycache__").exists()


def test_layer_is_linked_to_the_sources_of_its_packages(checkout: Path, tmp_path: Path) -> None:
    unpacked, path = tmp_path / "unpacked", tmp_path / "layer"
    for name in ("order_payments/__init__.py", "pydantic/__init__.py"):
        write(unpacked / "python" / name, "built\n")
    path.mkdir()

    Sources(checkout).link("create_order", unpacked, path)

    assert (path / "python/order_payments").resolve() == checkout / "layers/common/order_payments"
    assert (path / "python/pydantic/__init__.py").read_text() == "built\n"


def test_layer_without_own_code_is_the_built_one(checkout: Path, tmp_path: Path) -> None:
    unpacked, path = tmp_path / "unpacked", tmp_path / "layer"
    write(unpacked / "python/boto3/__init__.py", "built\n")
    path.mkdir()

    Sources(checkout).link("create_order", unpacked, path)

    assert [entry.name for entry in (path / "python").iterdir()] == ["boto3"]


@pytest.mark.parametrize(
    ("name", "folder"), [(FUNCTION, "create_order"), (f"{FUNCTION}-k2j4", "create_order"), ("", "")]
)
def test_folder_is_found_by_the_functions_name(name: str, folder: str) -> None:
    assert find_folder(name) == folder
