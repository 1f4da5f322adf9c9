"""Packaging of the output of `sam build` for fast cold starts: stripped of unused files, and precompiled.

Lambda's file system is read-only, so Python would compile a module without bytecode at every cold start.
"""

import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from samtranslator.yaml_helper import yaml_parse

from command_line.environment import make_child_environment
from command_line.errors import CommandError
from command_line.output import make_console
from command_line.processes import run_command

SERVICES = ("dynamodb", "events", "secretsmanager", "sqs")
"""The AWS services that the functions call, of over 400 in botocore."""

_SERVICE_FILES = ("service-2", "endpoint-rule-set-1")
_SHARED_FILES = frozenset({"endpoints.json", "partitions.json", "sdk-default-configuration.json", "_retry.json"})
_DEVELOPMENT_FOLDERS = frozenset({"__pycache__", "test", "tests"})


@dataclass(frozen=True, slots=True)
class Artefact:
    """A built function or layer: its name in the template, its folder, and its layers."""

    name: str
    folder: Path
    is_layer: bool
    layers: tuple[str, ...]

    @property
    def size(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def find_artefacts(template: Path) -> list[Artefact]:
    """Return the functions and layers in a template that `sam build` wrote."""
    document: Mapping[str, Any] = yaml_parse(template.read_text())
    common: Mapping[str, Any] = document.get("Globals", {}).get("Function", {})
    found = []
    for name, resource in document["Resources"].items():
        properties: Mapping[str, Any] = resource.get("Properties", {})
        uri = properties.get("CodeUri") or properties.get("ContentUri")
        if isinstance(uri, str):
            layers = layer_names([*common.get("Layers", []), *properties.get("Layers", [])])
            is_layer = "ContentUri" in properties
            found.append(Artefact(name, template.parent / uri, is_layer, () if is_layer else tuple(layers)))
    return found


def layer_names(value: Any) -> Iterator[str]:
    """Yield the names of a function's layers, including conditional ones."""
    match value:
        case {"Ref": str(name)} if name != "AWS::NoValue":
            yield name
        case {"Fn::If": [_, *choices]}:
            yield from layer_names(choices)
        case list():
            for each in value:
                yield from layer_names(each)


def prepare(template: Path, *, python: str, log: Path) -> list[Artefact]:
    """Strip and precompile the build of `template`, with the Python version that it will run on."""
    found = find_artefacts(template.resolve())
    for artefact in found:
        strip(artefact.folder)
        precompile(artefact, python=python, log=log)
    return found


def strip(folder: Path) -> None:
    """Delete files that only developers use, and botocore's data of services that are not called."""
    for path in [*folder.rglob("*.pyi"), *folder.rglob("py.typed"), *folder.rglob("test_*.py")]:
        path.unlink()
    for path in [path for path in folder.rglob("*") if path.name in _DEVELOPMENT_FOLDERS and path.is_dir()]:
        shutil.rmtree(path, ignore_errors=True)
    # `pip install ./layers/dummy_stripe` leaves these in the source.
    for path in [*folder.glob("python/build"), *folder.glob("python/*.egg-info")]:
        shutil.rmtree(path)
    for package in ("boto3/data", "boto3/examples"):
        for path in folder.glob(f"**/{package}"):
            shutil.rmtree(path)
    for data in folder.glob("**/botocore/data"):
        _strip_botocore_data(data)


def precompile(artefact: Artefact, *, python: str, log: Path) -> None:
    """Compile each module to bytecode with its path on Lambda, and without checks against the source.

    By default Python compares modification times, which a zip file does not preserve.
    https://docs.python.org/3/library/py_compile.html#py_compile.PycInvalidationMode
    """
    root = "/opt" if artefact.is_layer else "/var/task"
    run_command(
        [
            *(python, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"),
            *("-s", artefact.folder, "-p", root, artefact.folder),
        ],
        environment=make_child_environment(log.parent),
        directory=log.parent,
        log=log,
        label=f"Compiling {artefact.name}",
    )
    # compileall reports success for a folder that it cannot read.
    if not all(any(path.parent.glob(f"__pycache__/{path.stem}.*.pyc")) for path in artefact.folder.rglob("*.py")):
        raise CommandError(f"Compiling {artefact.name} failed. See {log}.")


def find_python(runtime: str) -> str:
    """Return the path of the Python for a Lambda runtime (`python3.13`). Raises `CommandError` if it is missing."""
    if runtime == f"python{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    program = shutil.which(runtime)
    if program is None:
        raise CommandError(f"{runtime} is not on the path. Install it: the build must be compiled with {runtime}.")
    # A version manager's shim needs the user's environment, which the compiler does not get: resolve the shim here.
    result = subprocess.run([program, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True)
    if result.returncode != 0:
        raise CommandError(f"{program} is on the path, but does not run:\n\n{result.stderr.strip()}")
    return result.stdout.strip()


def _strip_botocore_data(data: Path) -> None:
    for path in data.iterdir():
        if path.is_dir() and path.name not in SERVICES:
            shutil.rmtree(path)
        elif path.is_file() and path.name not in _SHARED_FILES:
            path.unlink()
    for service in SERVICES:
        *outdated, latest = sorted(path for path in (data / service).iterdir() if path.is_dir())
        for path in outdated:
            shutil.rmtree(path)
        for path in latest.glob("examples-*"):
            path.unlink()
        for name in _SERVICE_FILES:
            _decompress(latest / f"{name}.json.gz")
    endpoints = json.loads((data / "endpoints.json").read_bytes())
    for partition in endpoints["partitions"]:
        partition["services"] = {name: where for name, where in partition["services"].items() if name in SERVICES}
    (data / "endpoints.json").write_text(_compact(endpoints))


def _decompress(compressed: Path) -> None:
    """Replace a compressed service description by plain JSON without documentation."""
    if compressed.exists():
        description = json.loads(gzip.decompress(compressed.read_bytes()))
        compressed.with_suffix("").write_text(_compact(_remove_documentation(description)))
        compressed.unlink()


def _remove_documentation(description: Any) -> Any:
    """Return the description without documentation strings. A shape may have a member named `documentation`."""
    if isinstance(description, dict):
        return {
            name: _remove_documentation(value)
            for name, value in description.items()
            if not (name == "documentation" and isinstance(value, str))
        }
    if isinstance(description, list):
        return [_remove_documentation(value) for value in description]
    return description


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def sizes(found: list[Artefact]) -> Iterator[tuple[str, int, int]]:
    """Yield each artefact's name, its own size, and its size with layers: bytes, unzipped. Lambda's limit is 250 MB."""
    own = {artefact.name: artefact.size for artefact in found}
    for artefact in found:
        yield artefact.name, own[artefact.name], own[artefact.name] + sum(own[layer] for layer in artefact.layers)


def package(
    template: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The built template.yaml.")],
    runtime: Annotated[str, typer.Option(help="Lambda runtime, for example python3.13.")],
) -> None:
    """Strip and precompile the output of `sam build`, and print the sizes."""
    console = make_console()
    found = prepare(template, python=find_python(runtime), log=template.parent.parent / "packaging.log")
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("artefact")
    table.add_column("unzipped", justify="right")
    table.add_column("with its layers", justify="right")
    for name, own, whole in sizes(found):
        table.add_row(name, f"{own / 1e3:,.0f} kB", f"{whole / 1e3:,.0f} kB")
    console.print(table)
