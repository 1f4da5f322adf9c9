"""The command: which families it takes, what it keeps where, and how it ends."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench import cli
from bench.families import FAMILIES
from bench.figures import Bars, Family, Figure
from command_line.errors import CommandError


def told(value: float) -> Family:
    figure = Figure("a payment", value, "requests", limit=3)
    return Family("trial", "A trial", [figure], Bars("A trial", "requests", {"a payment": value}))


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one family, of three requests. No plots are drawn: only `make bench` has what that needs."""
    monkeypatch.setattr(cli, "PROJECT", tmp_path)
    monkeypatch.setattr(cli, "RECORD", tmp_path / "bench")
    monkeypatch.setattr(cli, "TRIALS", tmp_path / "trials")
    monkeypatch.setattr(cli, "FAMILIES", ["trial"])
    monkeypatch.setattr(cli, "draw_plots", lambda *_: None)
    monkeypatch.setattr(cli, "measure_apart", lambda name, quick: told(3))  # noqa: ARG005 - as it is called
    return tmp_path


def run(*arguments: str) -> int:
    return CliRunner().invoke(cli.app, list(arguments)).exit_code


def test_each_family_that_is_there_can_be_measured() -> None:
    assert all(find_spec(f"bench.{name}") for name in FAMILIES)


def test_a_whole_run_is_kept_with_the_code(kept: Path) -> None:
    assert run() == 0
    assert (kept / "bench" / "results.json").exists()
    assert not (kept / "trials").exists()


@pytest.mark.parametrize("arguments", [["--quick"], ["--only", "trial"]])
def test_a_part_of_a_run_does_not_take_its_place(kept: Path, arguments: list[str]) -> None:
    assert run(*arguments) == 0
    assert (kept / "trials" / "results.json").exists()
    assert not (kept / "bench").exists()


def test_a_figure_over_its_limit_fails_the_run_and_is_kept(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "measure_apart", lambda name, quick: told(4))  # noqa: ARG005 - as it is called
    assert run() == 1
    assert (kept / "bench" / "results.json").exists()


def test_a_family_that_cannot_be_measured_fails_the_run_which_is_not_whole(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str, *, quick: bool) -> Family:
        raise CommandError(f"{name} needs java, {quick}")

    monkeypatch.setattr(cli, "measure_apart", fail)
    assert run() == 1
    assert not (kept / "bench").exists()


def test_a_fault_in_one_family_loses_no_other(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(name: str, *, quick: bool) -> Family:  # noqa: ARG001 - as it is called
        if name == "broken":
            raise RuntimeError("what nobody reckoned with")
        return told(3)

    monkeypatch.setattr(cli, "FAMILIES", ["broken", "trial"])
    monkeypatch.setattr(cli, "measure_apart", measure)
    assert run() == 1
    assert "a payment" in (kept / "trials" / "results.json").read_text()


def test_a_family_that_does_not_exist_is_refused(kept: Path) -> None:
    assert run("--only", "speed") == 2
    assert not any(kept.iterdir())
