"""What a run leaves behind."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import report
from bench.figures import Bars, Family, Figure

KEPT = Figure("a status read", 1, "requests", limit=1)
OVER = Figure("a payment", 1.26, "ratio", limit=1.25, low=1.2, high=1.3)
REPORTED = Figure("cold start", 1 / 3, "s")
FAMILY = Family("trial", "A trial", [KEPT, OVER, REPORTED], Bars("A trial", "s", {"one": 1.0}), notes=["In turns."])


def written(families: list[Family], directory: Path) -> dict[str, Any]:
    report.write_results(families, directory / "results.json")
    told: dict[str, Any] = json.loads((directory / "results.json").read_text())
    return told


def test_every_figure_is_written_with_its_limit_and_its_family(tmp_path: Path) -> None:
    unlimited = {"family": "trial", "limit": None, "low": None, "high": None}
    assert written([FAMILY], tmp_path)["figures"] == [
        {**unlimited, "name": "a status read", "value": 1, "unit": "requests", "limit": 1},
        {**unlimited, "name": "a payment", "value": 1.26, "unit": "ratio", "limit": 1.25, "low": 1.2, "high": 1.3},
        {**unlimited, "name": "cold start", "value": 1 / 3, "unit": "s"},
    ]


def test_what_is_barely_over_its_limit_is_not_rounded_to_it(tmp_path: Path) -> None:
    barely = Figure("a payment", 1.250001, "ratio", limit=1.25)
    family = Family("trial", "A trial", [barely], FAMILY.chart)
    (figure,) = written([family], tmp_path)["figures"]
    assert figure["value"] > figure["limit"]


def test_the_machine_cannot_be_told_from_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.node", lambda: "somebodys-laptop")
    told = written([FAMILY], tmp_path)
    assert told["machine"].keys() == {"python", "system", "architecture", "cpus"}
    text = (tmp_path / "results.json").read_text()
    assert "somebodys-laptop" not in text
    assert str(tmp_path) not in text
    assert str(Path.home()) not in text


def test_a_run_without_figures_is_written_too(tmp_path: Path) -> None:
    assert written([], tmp_path)["figures"] == []


def test_only_what_is_over_its_limit_is_told_as_such() -> None:
    assert report.over_limit([FAMILY]) == [OVER]


def test_the_table_shows_value_quartiles_limit_and_verdict() -> None:
    console = Console(width=120, record=True, file=StringIO())
    console.print(report.table(FAMILY))
    kept, over, reported = (
        line.split() for line in console.export_text().splitlines() if line.startswith("│") and "figure" not in line
    )
    assert kept[-2] == "ok"
    assert over[-2] == "over"
    assert "1.20 to 1.30" in " ".join(over)
    assert "≤" not in reported
