"""The bench command: families, results and exit codes."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench import cli
from bench.families import FAMILIES
from bench.figures import Bars, Family, Figure
from command_line.errors import CommandError


def family_of(value: float) -> Family:
    figure = Figure("a payment", value, "requests", limit=3)
    return Family("trial", "A trial", [figure], Bars("A trial", "requests", {"a payment": value}))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project with one family of one figure. Draws no plots, because only `make bench` installs matplotlib."""
    monkeypatch.setattr(cli, "PROJECT", tmp_path)
    monkeypatch.setattr(cli, "RECORD", tmp_path / "bench")
    monkeypatch.setattr(cli, "TRIALS", tmp_path / "trials")
    monkeypatch.setattr(cli, "FAMILIES", ["trial"])
    monkeypatch.setattr(cli, "draw_plots", lambda *_: None)
    monkeypatch.setattr(cli, "measure_in_new_process", lambda name, quick: family_of(3))  # noqa: ARG005 - called with these names
    return tmp_path


def run(*arguments: str) -> int:
    return CliRunner().invoke(cli.app, list(arguments)).exit_code


def test_each_family_has_a_module() -> None:
    assert all(find_spec(f"bench.{name}") for name in FAMILIES)


def test_complete_run_is_saved_in_the_repository(project: Path) -> None:
    assert run() == 0
    assert (project / "bench" / "results.json").exists()
    assert not (project / "trials").exists()


@pytest.mark.parametrize("arguments", [["--quick"], ["--only", "trial"]])
def test_partial_or_quick_run_does_not_replace_a_complete_one(project: Path, arguments: list[str]) -> None:
    assert run(*arguments) == 0
    assert (project / "trials" / "results.json").exists()
    assert not (project / "bench").exists()


def test_figure_over_its_limit_fails_the_run_and_is_saved(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "measure_in_new_process", lambda name, quick: family_of(4))  # noqa: ARG005 - called with these names
    assert run() == 1
    assert (project / "bench" / "results.json").exists()


def test_family_that_cannot_be_measured_fails_the_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, *, quick: bool) -> Family:
        raise CommandError(f"{name} needs java, {quick}")

    monkeypatch.setattr(cli, "measure_in_new_process", fail)
    assert run() == 1
    assert not (project / "bench").exists()


def test_exception_in_one_family_keeps_the_others_results(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(name: str, *, quick: bool) -> Family:  # noqa: ARG001 - called with these names
        if name == "broken":
            raise RuntimeError("unexpected")
        return family_of(3)

    monkeypatch.setattr(cli, "FAMILIES", ["broken", "trial"])
    monkeypatch.setattr(cli, "measure_in_new_process", measure)
    assert run() == 1
    assert "a payment" in (project / "trials" / "results.json").read_text()


def test_unknown_family_is_refused(project: Path) -> None:
    assert run("--only", "speed") == 2
    assert not any(project.iterdir())
