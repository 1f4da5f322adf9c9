"""Command that measures families of figures, each in a new process, and writes the results."""

import multiprocessing
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from bench import report
from bench.families import FAMILIES, measure
from bench.figures import Family
from bench.options import Options
from command_line.environment import use_local_aws_settings
from command_line.errors import CommandError
from command_line.output import make_console, make_progress
from command_line.project import PROJECT, STATE

RECORD = PROJECT / "bench"
"""Results of the last complete run, kept in the repository."""
TRIALS = STATE / "bench"
"""Results of any other run: partial, quick or failed."""

_FILE_WIDTH = 120

app = typer.Typer(pretty_exceptions_enable=False, help=__doc__)


@app.command()
def bench(
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="FAMILY", help=f"Measure only this family: {', '.join(FAMILIES)}. Repeatable."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few repetitions, to try out a measurement.")] = False,
) -> None:
    """Measure the service. Exits with 1 if a figure is over its limit or a family fails."""
    if unknown := set(only or ()) - set(FAMILIES):
        raise typer.BadParameter(f"Unknown family {', '.join(sorted(unknown))}. Use one of {', '.join(FAMILIES)}.")
    console = make_console()
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    progress = make_progress(console)
    names = [name for name in FAMILIES if name in (only or FAMILIES)]
    measured: list[Family] = []
    failed: list[str] = []
    for number, name in enumerate(names, 1):
        try:
            with progress(f"{name} ({number} of {len(names)})"):
                measured.append(measure_in_new_process(name, quick=quick))
        except CommandError as error:
            failed.append(name)
            console.print(f"[red]✗[/] {name}: {error}", soft_wrap=True)
        except Exception:  # noqa: BLE001 - keep the results so far, which took minutes
            failed.append(name)
            console.print(f"[red]✗[/] {name}")
            console.print_exception()
        else:
            console.print(report.table(measured[-1]))
    directory = RECORD if not (only or quick or failed) else TRIALS
    save(measured, directory)
    console.print(f"Written to {directory.relative_to(PROJECT)}: results.json and plots.", markup=False)
    over = report.over_limit(measured)
    for figure in over:
        console.print(f"[bold red]over[/] {figure.name}: {figure.value:.4g}, at most {figure.limit}", soft_wrap=True)
    if over or failed:
        raise typer.Exit(1)


def measure_in_new_process(name: str, *, quick: bool) -> Family:
    """Measure a family in a new process, so that imports, caches and settings of one family do not affect another."""
    with (
        TemporaryDirectory(prefix="bench-") as scratch,
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process,
    ):
        return process.submit(measure, name, Options(quick, Path(scratch))).result()


def save(families: list[Family], directory: Path) -> None:
    report.write_results(families, directory / "results.json")
    shutil.rmtree(directory / "plots", ignore_errors=True)
    draw_plots(families, directory / "plots")


def draw_plots(families: list[Family], directory: Path) -> None:
    """Draw a chart of each family."""
    # Imported after all measurements, because matplotlib is large, and not always installed.
    try:
        from bench.plots import draw
    except ModuleNotFoundError as error:
        raise CommandError(f"Plots need {error.name}. Run `make bench`, which installs it.") from error
    for family in families:
        draw(family, directory / f"{family.name}.svg")


def main() -> None:
    use_local_aws_settings()
    try:
        app()
    except CommandError as error:
        sys.exit(str(error))
