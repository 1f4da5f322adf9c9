"""What a run is remembered by: a table for people, and `results.json` for programs."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from bench.figures import Family, Figure


def write_results(families: Sequence[Family], path: Path) -> None:
    """Write every figure as JSON, one on each line, so that a diff shows which have changed.

    The machine is described, but not so that it could be recognized.
    """
    head = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {
            "python": platform.python_version(),
            "system": platform.system(),
            "architecture": platform.machine(),
            "cpus": os.cpu_count(),
        },
    }
    figures = [{"family": family.name, **asdict(figure)} for family in families for figure in family.figures]
    figure_lines = ",\n".join(f"    {json.dumps(figure, ensure_ascii=False)}" for figure in figures)
    head_lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in head.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{\n{head_lines},\n  "figures": [\n{figure_lines}\n  ]\n}}\n', encoding="utf-8")


def table(family: Family) -> Table:
    shown = Table("figure", title=family.title, title_justify="left", caption="\n".join(family.notes) or None)
    shown.caption_justify = "left"
    for heading in ("value", "quartiles", "limit"):
        shown.add_column(heading, justify="right")
    shown.add_column("unit")
    shown.add_column("")
    for figure in family.figures:
        shown.add_row(
            figure.name,
            _text(figure.value),
            "" if figure.low is None or figure.high is None else f"{_text(figure.low)} to {_text(figure.high)}",
            "" if figure.limit is None else f"≤ {_text(figure.limit)}",
            figure.unit,
            "" if figure.limit is None else "[green]ok[/]" if figure.is_kept else "[bold red]over[/]",
        )
    return shown


def over_limit(families: Sequence[Family]) -> list[Figure]:
    return [figure for family in families for figure in family.figures if not figure.is_kept]


def _text(value: float) -> str:
    """To three digits, and what is counted in full."""
    if float(value).is_integer() or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}"
