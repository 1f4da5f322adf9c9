"""Packaging of the output of `sam build`: stripping and bytecode."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import botocore
import pytest

from command_line.environment import make_child_environment
from command_line.errors import CommandError
from delivery import packaging
from delivery.packaging import Artefact

BOTOCORE = Path(botocore.__file__).parent
TEMPLATE = """
Globals:
  Function:
    Layers: [!Ref Common]
Resources:
  Pay:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: Pay
      Layers: [!Ref Sdk, !If [UseDummy, !Ref Dummy, !Ref AWS::NoValue]]
  Common:
    Type: AWS::Serverless::LayerVersion
    Properties: {ContentUri: Common}
  Sdk:
    Type: AWS::Serverless::LayerVersion
    Properties: {ContentUri: Sdk}
  Dummy:
    Type: AWS::Serverless::LayerVersion
    Properties: {ContentUri: Dummy}
  Orders:
    Type: AWS::DynamoDB::Table
"""


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """Return a built template with a module of 100 bytes in its function and of 10 bytes in each layer."""
    for name, size in (("Pay", 100), ("Common", 10), ("Sdk", 10), ("Dummy", 10)):
        module = tmp_path / "build" / name / f"{name.lower()}_module.py"
        module.parent.mkdir(parents=True)
        module.write_text("#" * (size - 1) + "\n")
    path = tmp_path / "build" / "template.yaml"
    path.write_text(TEMPLATE)
    return path


@pytest.fixture
def stripped_sdk(tmp_path: Path) -> Path:
    """Return a folder with a stripped botocore."""
    shutil.copytree(
        BOTOCORE,
        tmp_path / "botocore",
        # Copies only some services. Copying all of them would take longer than the test.
        ignore=lambda folder, names: [
            name
            for name in names
            if Path(folder).name == "data" and "." not in name and name not in (*packaging.SERVICES, "sqs")
        ],
    )
    packaging.strip(tmp_path)
    return tmp_path


def bytecode_of(module: Path) -> Path:
    return Path(importlib.util.cache_from_source(str(module)))


def test_only_functions_and_layers_are_packaged(template: Path) -> None:
    assert [(found.name, found.is_layer) for found in packaging.find_artefacts(template)] == [
        ("Pay", False),
        ("Common", True),
        ("Sdk", True),
        ("Dummy", True),
    ]


def test_size_of_a_function_includes_all_its_layers(template: Path) -> None:
    assert list(packaging.sizes(packaging.find_artefacts(template))) == [
        ("Pay", 100, 130),
        ("Common", 10, 10),
        ("Sdk", 10, 10),
        ("Dummy", 10, 10),
    ]


def test_development_files_are_stripped(tmp_path: Path) -> None:
    package = tmp_path / "package"
    for name in (
        "module.py",
        "module.pyi",
        "py.typed",
        "tests/module.py",
        "test_module.py",
        "testing/kept.py",
        "__pycache__/old.pyc",
    ):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).touch()

    packaging.strip(tmp_path)

    kept = sorted(str(path.relative_to(package)) for path in package.rglob("*") if path.is_file())
    assert kept == ["module.py", "testing/kept.py"]


def test_remains_of_a_pip_installation_are_stripped(tmp_path: Path) -> None:
    for name in ("build/lib/package/module.py", "package.egg-info/PKG-INFO", "package/build/module.py"):
        (tmp_path / "python" / name).parent.mkdir(parents=True)
        (tmp_path / "python" / name).touch()

    packaging.strip(tmp_path)

    kept = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert kept == ["python/package/build/module.py"]


def test_bytecode_is_used_without_checking_the_source(template: Path) -> None:
    pay = template.parent / "Pay"
    (pay / "pay_module.py").write_text("VALUE = 'compiled'\n")
    packaging.prepare(template, python=sys.executable, log=template.parent / "log")
    (pay / "pay_module.py").write_text("VALUE = 'changed'\n")

    shown = subprocess.run(
        [sys.executable, "-c", "import pay_module; print(pay_module.VALUE)"],
        env=make_child_environment(template.parent, {"PYTHONPATH": str(pay)}),
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert shown == "compiled\n"


def test_bytecode_has_the_path_on_lambda(template: Path) -> None:
    packaging.prepare(template, python=sys.executable, log=template.parent / "log")

    function = bytecode_of(template.parent / "Pay" / "pay_module.py").read_bytes()
    layer = bytecode_of(template.parent / "Sdk" / "sdk_module.py").read_bytes()

    assert b"/var/task/pay_module.py" in function
    assert b"/opt/sdk_module.py" in layer
    assert str(template.parent).encode() not in function + layer


def test_module_that_does_not_compile_fails_the_build(template: Path) -> None:
    (template.parent / "Pay" / "broken.py").write_text("def\n")

    with pytest.raises(CommandError, match="Pay"):
        packaging.prepare(template, python=sys.executable, log=template.parent / "log")


def test_folder_without_bytecode_fails_the_build(tmp_path: Path) -> None:
    folder = tmp_path / "Pay"
    folder.mkdir()
    (folder / "module.py").touch()
    # compileall ignores this without an error.
    (folder / "__pycache__").touch()

    with pytest.raises(CommandError, match="Pay"):
        packaging.precompile(Artefact("Pay", folder, False, ()), python=sys.executable, log=tmp_path / "log")


def test_missing_runtime_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(CommandError, match=r"python3\.99 is not on the path"):
        packaging.find_python("python3.99")


def write_shim(folder: Path, script: str) -> Path:
    """Write a shim like those that version managers put on the path."""
    program = folder / "python3.99"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_shim_is_resolved_to_the_real_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_shim(tmp_path, f'[ "$CHOSEN" ] && exec {sys.executable} "$@"')
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CHOSEN", "3.99")

    assert packaging.find_python("python3.99") == sys.executable


def test_shim_without_a_python_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_shim(tmp_path, "echo 'choose a version' >&2; exit 127")
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(CommandError, match="does not run:\n\nchoose a version"):
        packaging.find_python("python3.99")


def test_sdk_keeps_only_the_services_that_are_called(stripped_sdk: Path) -> None:
    data = stripped_sdk / "botocore" / "data"

    services = {path.name for path in data.iterdir() if path.is_dir()}
    endpoints = json.loads((data / "endpoints.json").read_bytes())

    assert services == {"dynamodb", "events", "secretsmanager", "sqs"}
    assert all(set(partition["services"]) <= services for partition in endpoints["partitions"])


@pytest.mark.slow
def test_stripped_sdk_has_the_same_endpoints_and_operations(stripped_sdk: Path) -> None:
    program = """
import itertools, sys
from botocore.session import get_session
session = get_session()
regions = ["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1"]
for service, region in itertools.product(sys.argv[1].split(), regions):
    client = session.create_client(service, region)
    print(client.meta.endpoint_url, client.meta.service_model.operation_names)
"""

    def shown(path: Path) -> str:
        return subprocess.run(
            [sys.executable, "-c", program, " ".join(packaging.SERVICES)],
            env=make_child_environment(stripped_sdk, {"PYTHONPATH": str(path)}),
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert shown(stripped_sdk) == shown(BOTOCORE.parent) != ""
