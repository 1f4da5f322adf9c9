"""The dummy as a separate package: its imports, and the facts that it shares with the service and the SDK."""

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import stripe

import dummy_stripe
from command_line.project import PROJECT
from dummy_stripe import PAYMENT_METHODS
from dummy_stripe.bodies import API_VERSION
from dummy_stripe.currencies import CURRENCIES
from dummy_stripe.server import serve
from order_payments.domain.money import TABLE

PACKAGE = Path(dummy_stripe.__file__).parent
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")
SERVER_MODULES = {"__main__", "accounts", "control_calls", "server", "sqlite_store"}
"""Modules that the in-process client, and so the Lambda functions, must not load."""


def imports_of(module: str) -> set[str]:
    """Return the modules that a module imports, with type-checking imports; the package's own without its prefix."""
    names = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.module == "dummy_stripe"):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").removeprefix("dummy_stripe."))
    return names


def test_package_has_no_import_cycle():
    TopologicalSorter({module: imports_of(module) & set(MODULES) for module in MODULES}).prepare()


@pytest.mark.parametrize(
    ("modules", "blocked"),
    [
        ([module for module in MODULES if module not in {"http_client", "dynamodb_store"}], ["stripe", "botocore"]),
        (["http_client"], ["botocore"]),
        (["dynamodb_store"], ["stripe"]),
    ],
    ids=["all others", "in-process client", "DynamoDB store"],
)
def test_module_imports_without_the_service_and_unused_sdks(modules, blocked):
    blocks = "".join(f"sys.modules[{name!r}] = None; " for name in ["order_payments", *blocked])
    program = f"import sys; {blocks}import dummy_stripe, {', '.join(f'dummy_stripe.{module}' for module in modules)}"

    completed = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(PACKAGE.parent)}, capture_output=True, text=True
    )

    assert completed.stderr == ""


def test_in_process_client_loads_no_module_of_the_server():
    program = "import sys, dummy_stripe.http_client, dummy_stripe.dynamodb_store; print(*sys.modules)"

    completed = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(PACKAGE.parent)}, capture_output=True, text=True
    )

    loaded = set(completed.stdout.split())
    assert "dummy_stripe.api" in loaded
    assert loaded.isdisjoint({"sqlite3", "socketserver", *(f"dummy_stripe.{module}" for module in SERVER_MODULES)})


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the package's wheel, built without network access."""
    folder = tmp_path_factory.mktemp("wheel")
    # A copy, because the build writes into the source.
    shutil.copytree(PACKAGE.parent, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    options = ("--quiet", "--no-build-isolation", "--no-index", "--no-deps", "--wheel-dir", str(folder))
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(folder / "source")], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_wheel_has_all_modules_and_needs_no_other_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [archive.read(name).decode() for name in names if name.endswith("/METADATA")]

    assert {f"dummy_stripe/{module}.py" for module in MODULES} | {"dummy_stripe/py.typed"} <= set(names)
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert required == []


@pytest.mark.slow
def test_server_runs_from_the_wheel_with_the_standard_library(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    # -S: no installed packages.
    completed = subprocess.run(
        [sys.executable, "-S", "-m", "dummy_stripe", "--help"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert "--state FILE" in completed.stdout


@pytest.mark.parametrize(
    ("language", "program", "number", "printed"),
    [("sh", ["sh", "-c"], 1, '"status": "succeeded"'), ("python", [sys.executable, "-c"], 0, "succeeded")],
)
def test_quick_start_pays(language, program, number, printed):
    if language == "sh" and not shutil.which("curl"):
        # The project does not require curl. The summary of the run names this test.
        pytest.skip("curl is not installed")
    blocks = re.findall(
        rf"^```{language}\n(.*?)^```", (PACKAGE.parent / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    with serve() as url:
        code = blocks[number].replace("http://127.0.0.1:12111", url)
        completed = subprocess.run([*program, code], capture_output=True, text=True)

    assert url in code
    assert printed in completed.stdout


def test_currencies_equal_the_services():
    assert {code: tuple(rules) for code, rules in CURRENCIES.items()} == {
        code: (rules.minimum, rules.maximum, rules.step, rules.decimals)
        for code, rules in TABLE.items()
        if rules.is_charged
    }


def test_api_version_equals_the_sdks():
    assert stripe.api_version == API_VERSION


def test_cards_in_the_readme_exist():
    tokens = set(re.findall(r"pm_(?:card|dummy)_\w+", (PROJECT / "README.md").read_text()))

    assert tokens
    assert tokens <= PAYMENT_METHODS.keys()
