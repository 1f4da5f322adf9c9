"""Reports of a run: a table for people, and `results.json` for programs."""

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
    """Write the figures as JSON, one per line, so that a diff shows which have changed.

    The description of the machine does not identify it.
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
            _format(figure.value),
            "" if figure.low is None or figure.high is None else f"{_format(figure.low)} to {_format(figure.high)}",
            "" if figure.limit is None else f"≤ {_format(figure.limit)}",
            figure.unit,
            "" if figure.limit is None else "[green]ok[/]" if figure.is_within_limit else "[bold red]over[/]",
        )
    return shown


def over_limit(families: Sequence[Family]) -> list[Figure]:
    return [figure for family in families for figure in family.figures if not figure.is_within_limit]


def _format(value: float) -> str:
    """Format a number with three significant digits, or as an integer if it is whole or at least 100."""
    if float(value).is_integer() or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}"
