"""What `sam build` leaves, made ready for a cold start: precompiled, and without what no function reads.

Lambda's file system is read-only, so that Python compiles what comes without bytecode anew in every cold start.
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
"""The AWS services that the functions call. botocore describes over 400."""

_DESCRIPTIONS = ("service-2", "endpoint-rule-set-1")
_DATA_FOR_ALL_SERVICES = frozenset(
    {"endpoints.json", "partitions.json", "sdk-default-configuration.json", "_retry.json"}
)
_NOT_TO_RUN = frozenset({"__pycache__", "test", "tests"})


@dataclass(frozen=True, slots=True)
class Artefact:
    """A built function or layer: its name in the template, its folder, and the layers that it comes with."""

    name: str
    folder: Path
    is_layer: bool
    layers: tuple[str, ...]

    @property
    def size(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def artefacts(template: Path) -> list[Artefact]:
    """What was built for a template, as `sam build` has written it."""
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
    """Yield the names of the layers that a function has, or may have under a condition."""
    match value:
        case {"Ref": str(name)} if name != "AWS::NoValue":
            yield name
        case {"Fn::If": [_, *choices]}:
            yield from layer_names(choices)
        case list():
            for each in value:
                yield from layer_names(each)


def prepare(template: Path, *, python: str, log: Path) -> list[Artefact]:
    """Make lean and precompile what was built for `template`, by the Python that it will run on."""
    found = artefacts(template.resolve())
    for artefact in found:
        make_lean(artefact.folder)
        precompile(artefact, python=python, log=log)
    return found


def make_lean(folder: Path) -> None:
    """Take away what is for developers alone, and what botocore has of services that are not called."""
    for path in [*folder.rglob("*.pyi"), *folder.rglob("py.typed"), *folder.rglob("test_*.py")]:
        path.unlink()
    for path in [path for path in folder.rglob("*") if path.name in _NOT_TO_RUN and path.is_dir()]:
        shutil.rmtree(path, ignore_errors=True)
    for package in ("boto3/data", "boto3/examples"):
        for path in folder.glob(f"**/{package}"):
            shutil.rmtree(path)
    for data in folder.glob("**/botocore/data"):
        _make_lean_data(data)


def precompile(artefact: Artefact, *, python: str, log: Path) -> None:
    """Put the bytecode beside each module, under the name that it has on Lambda, and never checked against the source.

    A check would compare times of change, which do not survive the way into a zip file and back.
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
    # It counts a folder that is not there as compiled.
    if not all(any(path.parent.glob(f"__pycache__/{path.stem}.*.pyc")) for path in artefact.folder.rglob("*.py")):
        raise CommandError(f"{artefact.name} was not compiled: see {log}")


def python_of(runtime: str) -> str:
    """The program that is Lambda's `runtime` (`python3.13`). Raises `CommandError` if this machine has none."""
    if runtime == f"python{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    program = shutil.which(runtime)
    if program is None:
        raise CommandError(f"{runtime} is not on the path, and only it can compile what {runtime} shall run.")
    # A version manager's stand-in knows by the user's environment what it stands for, which is not passed on.
    asked = subprocess.run([program, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True)
    if asked.returncode != 0:
        raise CommandError(f"{program} is on the path, but does not run:\n\n{asked.stderr.strip()}")
    return asked.stdout.strip()


def _make_lean_data(data: Path) -> None:
    for path in data.iterdir():
        if path.is_dir() and path.name not in SERVICES:
            shutil.rmtree(path)
        elif path.is_file() and path.name not in _DATA_FOR_ALL_SERVICES:
            path.unlink()
    for service in SERVICES:
        *outdated, latest = sorted(path for path in (data / service).iterdir() if path.is_dir())
        for path in outdated:
            shutil.rmtree(path)
        for path in latest.glob("examples-*"):
            path.unlink()
        for name in _DESCRIPTIONS:
            _unpack(latest / f"{name}.json.gz")
    endpoints = json.loads((data / "endpoints.json").read_bytes())
    for partition in endpoints["partitions"]:
        partition["services"] = {name: where for name, where in partition["services"].items() if name in SERVICES}
    (data / "endpoints.json").write_text(_compact(endpoints))


def _unpack(packed: Path) -> None:
    """Put a description beside its packed form, without the prose; botocore reads that first."""
    if packed.exists():
        packed.with_suffix("").write_text(_compact(_without_prose(json.loads(gzip.decompress(packed.read_bytes())))))
        packed.unlink()


def _without_prose(description: Any) -> Any:
    """A shape may have a member of that name; prose is text."""
    if isinstance(description, dict):
        return {
            name: _without_prose(value)
            for name, value in description.items()
            if not (name == "documentation" and isinstance(value, str))
        }
    if isinstance(description, list):
        return [_without_prose(value) for value in description]
    return description


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def sizes(found: list[Artefact]) -> Iterator[tuple[str, int, int]]:
    """Each artefact's name, its own size, and that with its layers; in bytes, unzipped. Lambda takes 250 MB of it."""
    own = {artefact.name: artefact.size for artefact in found}
    for artefact in found:
        yield artefact.name, own[artefact.name], own[artefact.name] + sum(own[layer] for layer in artefact.layers)


def package(
    template: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The built template.yaml.")],
    runtime: Annotated[str, typer.Option(help="Lambda runtime, for example python3.13.")],
) -> None:
    """Strip and precompile the output of `sam build`, and print the sizes."""
    console = make_console()
    found = prepare(template, python=python_of(runtime), log=template.parent.parent / "packaging.log")
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("artefact")
    table.add_column("unzipped", justify="right")
    table.add_column("with its layers", justify="right")
    for name, own, whole in sizes(found):
        table.add_row(name, f"{own / 1e3:,.0f} kB", f"{whole / 1e3:,.0f} kB")
    console.print(table)
