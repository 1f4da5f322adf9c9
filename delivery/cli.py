"""Package and release the service, and generate its documents."""

import json
from pathlib import Path
from typing import Annotated

import typer

from command_line.environment import use_local_aws_settings
from command_line.program import run_program
from delivery.packaging import package
from delivery.release import release

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
app.command()(package)
app.command()(release)


@app.command("render")
def write_renderings(directory: Annotated[Path, typer.Argument(help="Directory for the rendered templates.")]) -> None:
    """Render the template for each environment, for scanners."""
    # SAM's transform takes a second to import, as do the functions below. Other commands skip it.
    from delivery.rendering import ACCOUNT_PARAMETERS, Rendering

    use_local_aws_settings()
    directory.mkdir(parents=True, exist_ok=True)
    for name in ACCOUNT_PARAMETERS:
        (directory / f"{name}.json").write_text(json.dumps(Rendering.of_environment(name).as_template(), indent=1))


@app.command("openapi")
def write_openapi() -> None:
    """Generate docs/openapi.json from the functions' code."""
    use_local_aws_settings()
    from delivery import openapi

    openapi.DOCUMENT.write_text(openapi.text())


@app.command("event-schemas")
def write_event_schemas() -> None:
    """Generate the JSON Schemas in docs/events from the event models."""
    from delivery import event_schemas

    for file in (event_schemas.ORDER, event_schemas.REFUND):
        file.write_text(event_schemas.text_of(file))


def main() -> None:
    run_program(app, "delivery")
