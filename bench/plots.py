"""SVG charts. The same figures give the same file, so that a diff shows changes."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot

from bench.figures import Bars, Family, Lines

COLOUR, LIMIT_COLOUR = "#3b6ea8", "#c0392b"
_WIDTH_INCHES = 8.0
_LEGEND_CHARACTERS = 80
"""Width of a line of the legend."""


def draw(family: Family, path: Path) -> None:
    mpl.use("Agg")
    # A fixed salt for the IDs, and text instead of glyph outlines.
    mpl.rcParams.update({"svg.hashsalt": family.name, "svg.fonttype": "none", "font.size": 10})
    chart = family.chart
    rows = len(chart.values) if isinstance(chart, Bars) else 10
    figure, axes = pyplot.subplots(figsize=(_WIDTH_INCHES, max(2.5, 1.2 + 0.34 * rows)), layout="constrained")
    try:
        # The figure's title, because the axes' title is cut off beside long labels.
        figure.suptitle(chart.title, x=0.01, horizontalalignment="left", fontsize=11, fontweight="bold")
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
        axes.spines[["top", "right"]].set_visible(False)
        if isinstance(chart, Bars):
            _draw_bars(axes, chart)
        else:
            _draw_lines(axes, chart)
        if names := axes.get_legend_handles_labels()[1]:
            columns = max(1, _LEGEND_CHARACTERS // (6 + max(map(len, names))))
            figure.legend(loc="outside lower center", frameon=False, ncols=columns)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    finally:
        pyplot.close(figure)


def _draw_bars(axes: Any, chart: Bars) -> None:
    labels = list(chart.values)
    places = range(len(labels))
    bars = axes.barh(places, chart.values.values(), color=COLOUR, height=0.65)
    # The value is inside the bar if a limit is marked behind it.
    for bar, label in zip(bars, labels, strict=True):
        x, y = bar.get_width(), bar.get_y() + bar.get_height() / 2
        inside = label in chart.limits
        axes.annotate(
            f"{x:.3g}",
            (x, y),
            xytext=(-4 if inside else 4, 0),
            textcoords="offset points",
            color="white" if inside else "black",
            horizontalalignment="right" if inside else "left",
            verticalalignment="center",
        )
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.set_xlabel(chart.unit)
    axes.margins(x=0.12)
    named = "limit"
    for place, label in zip(places, labels, strict=True):
        if label in chart.limits:
            axes.vlines(chart.limits[label], place - 0.42, place + 0.42, color=LIMIT_COLOUR, linewidth=2, label=named)
            named = "_"  # once in the legend


def _draw_lines(axes: Any, chart: Lines) -> None:
    for name, points in chart.series.items():
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
    if chart.log_x:
        axes.set_xscale("log")
    if chart.log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    axes.grid(visible=True, alpha=0.25)
