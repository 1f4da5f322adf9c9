"""Reports of a run."""

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


def write_and_read(families: list[Family], directory: Path) -> dict[str, Any]:
    report.write_results(families, directory / "results.json")
    results: dict[str, Any] = json.loads((directory / "results.json").read_text())
    return results


def test_every_figure_is_written_with_its_limit_and_its_family(tmp_path: Path) -> None:
    unlimited = {"family": "trial", "limit": None, "low": None, "high": None}
    assert write_and_read([FAMILY], tmp_path)["figures"] == [
        {**unlimited, "name": "a status read", "value": 1, "unit": "requests", "limit": 1},
        {**unlimited, "name": "a payment", "value": 1.26, "unit": "ratio", "limit": 1.25, "low": 1.2, "high": 1.3},
        {**unlimited, "name": "cold start", "value": 1 / 3, "unit": "s"},
    ]


def test_value_barely_over_its_limit_is_not_rounded(tmp_path: Path) -> None:
    barely = Figure("a payment", 1.250001, "ratio", limit=1.25)
    family = Family("trial", "A trial", [barely], FAMILY.chart)
    (figure,) = write_and_read([family], tmp_path)["figures"]
    assert figure["value"] > figure["limit"]


def test_results_do_not_identify_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.node", lambda: "alices-laptop")
    results = write_and_read([FAMILY], tmp_path)
    assert results["machine"].keys() == {"python", "system", "architecture", "cpus"}
    text = (tmp_path / "results.json").read_text()
    assert "alices-laptop" not in text
    assert str(tmp_path) not in text
    assert str(Path.home()) not in text


def test_run_without_figures_is_written(tmp_path: Path) -> None:
    assert write_and_read([], tmp_path)["figures"] == []


def test_only_figures_over_their_limit_are_reported() -> None:
    assert report.over_limit([FAMILY]) == [OVER]


def test_table_shows_value_quartiles_limit_and_verdict() -> None:
    console = Console(width=120, record=True, file=StringIO())
    console.print(report.table(FAMILY))
    kept, over, reported = (
        line.split() for line in console.export_text().splitlines() if line.startswith("│") and "figure" not in line
    )
    assert kept[-2] == "ok"
    assert over[-2] == "over"
    assert "1.20 to 1.30" in " ".join(over)
    assert "≤" not in reported
