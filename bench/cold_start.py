"""Cold start: time from a new process to a ready function, compared with a process that creates a DynamoDB client.

Each process starts as on Lambda, with only the built artefact and its layers on the path, and with or without their
bytecode. It exits without cleanup once it is ready. Lambda's own work, such as fetching the code, is not included.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

from bench.figures import Bars, Family, Figure
from bench.options import Options
from bench.service import environment as service_environment
from command_line.project import PROJECT
from delivery.packaging import Artefact, find_artefacts, precompile
from local.build import BUILD_CACHE, Build

RUNS, RUNS_WITHOUT_BYTECODE, RUNS_QUICK = 40, 8, 3

LIMITS: Mapping[str, float] = {"authorizer": 0.48, "get_order_status": 1.30, "initiate_payment": 1.55}
"""Limits of a function's cold start, as a multiple of the bare client's."""

AUTHORIZER_LIMIT_MB = 20.0

BARE = "bare boto3 client"
_BARE_PROGRAM = "import boto3; boto3.client('dynamodb')"
_FUNCTION_PROGRAM = "import handler"
_END = "; import os; os._exit(0)"
_SDK = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")


def measure(options: Options) -> Family:
    build = Build(PROJECT, BUILD_CACHE)
    with build.lock():
        if not build.is_current():
            build.make()
        built = {artefact.name: artefact for artefact in find_artefacts(build.template)}
        environment = function_environment(build.template)
        names = _names(PROJECT / "template.yaml")
        starts = {
            name: Start(search_path_of(built[logical_id], built), _FUNCTION_PROGRAM, environment)
            for logical_id, name in names.items()
        }
        starts[BARE] = Start([bare_sdk(options.scratch)], _BARE_PROGRAM, environment)
        runs, runs_without = (RUNS_QUICK, RUNS_QUICK) if options.quick else (RUNS, RUNS_WITHOUT_BYTECODE)
        with_bytecode = _in_turns(starts, runs)
        without = _in_turns(
            {name: start.without_bytecode(options.scratch / name) for name, start in starts.items()}, runs_without
        )
        authorizer = next(built[logical_id] for logical_id, name in names.items() if name == "authorizer").size
    figures = [Figure.median(f"cold start {BARE}", with_bytecode[BARE], "ms")]
    figures += [
        Figure.ratio(f"cold start {name} ÷ {BARE}", with_bytecode[name], with_bytecode[BARE], LIMITS.get(name))
        for name in names.values()
    ]
    for name in names.values():
        value = statistics.median(without[name]) / statistics.median(with_bytecode[name])
        figures.append(Figure(f"cold start {name} without ÷ with bytecode", value, "ratio"))
    figures.append(
        Figure("package of the authorizer, unzipped, without its layer", authorizer / 1e6, "MB", AUTHORIZER_LIMIT_MB)
    )
    return Family(
        "cold_start",
        "Cold start of each function",
        figures,
        Bars(
            f"Cold start, as a multiple of a process that creates a {BARE}",
            "ratio",
            {name: statistics.median(with_bytecode[name]) / statistics.median(with_bytecode[BARE]) for name in starts},
            LIMITS,
        ),
        [
            f"{runs} starts of each with bytecode and {runs_without} without, in turns.",
            "The bare client uses boto3 as published, with bytecode. The functions use boto3 without the data of other "
            "services.",
        ],
    )


class Start:
    """A program and the folders on its path."""

    def __init__(self, path: Sequence[Path], program: str, environment: Mapping[str, str]) -> None:
        self._path = path
        self._program = program
        self._given = environment
        self._environment = {
            **environment,
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "LAMBDA_TASK_ROOT": str(path[0]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def milliseconds(self) -> float:
        """Run the program in a new process and return its duration. Raises `CalledProcessError` if it fails."""
        # Without `site`, which would add the packages installed here.
        command = [sys.executable, "-S", "-c", self._program + _END]
        started = time.perf_counter()
        subprocess.run(command, env=self._environment, check=True, stdout=subprocess.DEVNULL)
        return (time.perf_counter() - started) * 1000

    def without_bytecode(self, scratch: Path) -> "Start":
        """Return the same start with copies of its folders that have no bytecode."""
        copies = [scratch / str(place) for place in range(len(self._path))]
        for original, copy in zip(self._path, copies, strict=True):
            shutil.copytree(original, copy, ignore=shutil.ignore_patterns("__pycache__"))
        return Start(copies, self._program, self._given)


def search_path_of(function: Artefact, built: Mapping[str, Artefact]) -> list[Path]:
    """Return the path of a function: its own folder, then its layers, as on Lambda."""
    return [function.folder, *(built[layer].folder / "python" for layer in function.layers)]


def function_environment(template: Path) -> dict[str, str]:
    """Return the environment of every function: the template's variables, and values that let each one start."""
    variables: Mapping[str, Any] = yaml_parse(template.read_text())["Globals"]["Function"]["Environment"]["Variables"]
    return {
        **{name: value for name, value in variables.items() if isinstance(value, str)},
        **service_environment(""),
    }


def bare_sdk(scratch: Path) -> Path:
    """Copy the published SDK, with bytecode, and return its folder."""
    folder = scratch / "sdk"
    folder.mkdir()
    for name in _SDK:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise RuntimeError(f"{name} is not installed")
        origin = Path(spec.origin)
        if origin.name == "__init__.py":
            shutil.copytree(origin.parent, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, folder)
    precompile(Artefact("sdk", folder, False, ()), python=sys.executable, log=scratch / "compile.log")
    return folder


def _names(template: Path) -> dict[str, str]:
    """Return the folder in `functions/` of each function, by its name in the template."""
    return {
        logical_id: Path(resource["Properties"]["CodeUri"]).name
        for logical_id, resource in yaml_parse(template.read_text())["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def _in_turns(starts: Mapping[str, Start], runs: int) -> dict[str, list[float]]:
    """Return the milliseconds of each start, `runs` times. A first start, which reads the files, is not counted."""
    samples: dict[str, list[float]] = {name: [] for name in starts}
    for run in range(-1, runs):
        for name, start in starts.items():
            milliseconds = start.milliseconds()
            if run >= 0:
                samples[name].append(milliseconds)
    return samples
