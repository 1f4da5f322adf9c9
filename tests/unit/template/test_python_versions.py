"""The template's `Runtime` lists the supported Python versions. Setup, tools, pipeline and README agree with it."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from command_line.project import PROJECT
from delivery.rendering import template

RUNTIME = template()["Parameters"]["Runtime"]
VERSIONS = [runtime.removeprefix("python") for runtime in RUNTIME["AllowedValues"]]
MINORS = [int(version.removeprefix("3.")) for version in VERSIONS]
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (PROJECT / ".github" / "workflows").glob("*.yaml")}


def python_versions(workflow: str) -> dict[str, str]:
    """Return the Python version that each job of a workflow sets up."""
    return {
        name: step["with"]["python-version"]
        for name, job in WORKFLOWS[workflow]["jobs"].items()
        for step in job.get("steps", ())
        if step.get("uses", "").startswith("actions/setup-python@")
    }


def fake_python(python: Path, minor: int) -> str:
    """Write a program that runs `-c` code as Python 3.`minor`, and fails on anything else. Returns its path."""
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(
        "#!/bin/sh\n"
        '[ "$1" = -c ] || exit 9\n'
        f'exec "{sys.executable}" -c "import sys; sys.version_info = (3, {minor}, 0); $2"\n'
    )
    python.chmod(0o755)
    return str(python)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Give a copy of the files that the setup reads, without `.venv`."""
    for name in ("Makefile", "shop", "requirements-bootstrap.txt", "requirements-dev.txt"):
        shutil.copy(PROJECT / name, tmp_path)
    return tmp_path


def run(clone: Path, *command: str, python: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": python}
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)


def test_newest_version_is_the_default() -> None:
    assert RUNTIME["Default"] == RUNTIME["AllowedValues"][-1]
    assert sorted(MINORS) == MINORS


def test_pipeline_tests_every_version_and_deploys_the_default() -> None:
    assert WORKFLOWS["pipeline"]["jobs"]["check"]["strategy"]["matrix"]["python"] == VERSIONS
    assert python_versions("pipeline") == {"check": "${{ matrix.python }}", "vulnerabilities": VERSIONS[-1]}
    assert python_versions("deploy") == {"deploy": VERSIONS[-1]}


def test_tools_check_for_the_oldest_version() -> None:
    tools = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]

    assert tools["ruff"]["target-version"] == f"py3{MINORS[0]}"
    assert tools["mypy"]["python_version"] == VERSIONS[0]
    assert f" --python-version {VERSIONS[0]} " in (PROJECT / "Makefile").read_text()


def test_readme_names_every_version() -> None:
    assert f"Python {', '.join(VERSIONS[:-1])} or {VERSIONS[-1]}" in (PROJECT / "README.md").read_text()


@pytest.mark.parametrize("command", [("make", "setup"), ("./shop", "doctor")], ids=["make", "shop"])
@pytest.mark.parametrize("minor", [MINORS[0] - 1, *MINORS, MINORS[-1] + 1])
def test_setup_accepts_exactly_the_supported_versions(clone: Path, command: tuple[str, str], minor: int) -> None:
    result = run(clone, *command, python=fake_python(clone / "python", minor))

    refused = f"Python {VERSIONS[0]} to {VERSIONS[-1]} is required" in result.stderr
    assert refused == (minor not in MINORS)


@pytest.mark.parametrize("minor", MINORS)
def test_setup_replaces_a_virtual_environment_of_another_version(clone: Path, minor: int) -> None:
    fake_python(clone / ".venv" / "bin" / "python", MINORS[0])
    (clone / ".venv" / ".installed").touch()

    result = run(clone, "make", "setup", python=fake_python(clone / "python", minor))

    assert ("Create .venv" in result.stderr) == (minor != MINORS[0])
