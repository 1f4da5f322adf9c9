"""Run the stack on this machine and use its shop."""

import os
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.text import Text

from command_line.environment import use_local_aws_settings
from command_line.errors import CommandError
from command_line.output import make_console, make_progress
from command_line.program import run_program
from command_line.project import PROJECT, STATE
from command_line.signals import stop_on_signals, stop_with_parent
from local import doctor
from local.emulator.deploy import STAGE
from local.running import require_running_stack
from local.sam_local import sam as sam_local
from local.shop import catalogue, demo, seed, stripe_events
from local.shop import cli as shop_cli
from local.shop.client import SAMPLE_PRODUCT, bearer, list_all, load_issuer
from local.shop.stripe_events import SUCCEEDED
from local.stack import DUMMY_STRIPE_KEY, Stack, start_stack
from order_payments.domain.identity import Role

# Environment variables that `make run` passes on, and the template parameters that they set.
_PARAMETERS = {
    "STRIPE_SECRET_KEY": "StripeSecretKey",
    "STRIPE_BACKEND": "StripeBackend",
    "STRIPE_API_BASE": "StripeApiBase",
    "STRIPE_WEBHOOK_SECRET": "StripeWebhookSecret",
    "CORS_ALLOWED_ORIGINS": "CorsAllowedOrigins",
}

_SAVED_TABLES = STATE / "tables.json"
_CENTURY_SECONDS = 100 * 365 * 24 * 3600

PROGRAM = "shop"
"""Name of the script in the project's root, for tab completion."""

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def run(
    port: Annotated[int, typer.Option(envvar="PORT", min=1, max=65535, help="Port of the API.")] = 3000,
    persist: Annotated[
        bool,
        typer.Option("--persist", envvar="PERSIST", help="Keep orders and products for the next run with this option."),
    ] = False,
    with_parent: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run the stack on this machine until Ctrl-C."""
    if with_parent:
        stop_with_parent()
    console = make_console()
    progress = make_progress(console)
    parameters = {name: os.environ[variable] for variable, name in _PARAMETERS.items() if os.environ.get(variable)}
    if not parameters.get("StripeSecretKey", DUMMY_STRIPE_KEY).startswith("sk_test_"):
        raise CommandError("STRIPE_SECRET_KEY is not a test mode key. Set a key that begins with sk_test_.")
    ready = threading.Event()
    with start_stack(
        port=port,
        state=STATE,
        parameters=parameters,
        sources=PROJECT,
        saved_tables=_SAVED_TABLES if persist else None,
        progress=progress,
        show_log=lambda line: console.print(line, soft_wrap=True, overflow=line.overflow) if ready.is_set() else None,
    ) as stack:
        with stack.http() as api:
            api.headers.update(bearer(stack.tokens["admin"]))
            if persist and next(list_all(api, "products", limit=1), None):
                console.print("The orders and products of the last run are restored.", soft_wrap=True)
            else:
                _load_sample_catalogue(stack, api, console)
        with stack.publish_description():
            _print_addresses(stack, console, is_persistent=persist)
            ready.set()
            stack.emulator.process.wait()
        raise CommandError(f"The AWS emulator ended unexpectedly. See {stack.emulator.log}.")


@app.command()
def token(
    sub: Annotated[str, typer.Option(envvar="SUB", help="User id.")] = "buyer-1",
    roles: Annotated[str, typer.Option(envvar="ROLES", help="Roles, separated by commas.")] = "buyer",
    exp: Annotated[
        int,
        typer.Option(
            envvar="EXP",
            min=-_CENTURY_SECONDS,
            max=_CENTURY_SECONDS,
            help="Seconds until the token expires; negative for an expired token.",
        ),
    ] = 12 * 3600,
) -> None:
    """Print a token for the running stack."""
    requested = [role.strip() for role in roles.split(",") if role.strip()]
    # Tests create tokens with unknown roles by `TokenIssuer.token`.
    if unknown := [role for role in requested if role not in tuple(Role)]:
        raise CommandError(
            f"Unknown role {', '.join(map(repr, unknown))}. Choose from {', '.join(Role)}: "
            f"make token SUB=alice ROLES={','.join(Role)}"
        )
    issuer = load_issuer(require_running_stack())
    sys.stdout.write(issuer.token(sub, requested, expires_in=timedelta(seconds=exp)) + "\n")


@app.command()
def event(
    order: Annotated[str, typer.Option(envvar="ORDER", help="Order id. The order needs a payment attempt.")],
    event_type: Annotated[str, typer.Option("--type", envvar="TYPE", help="Event type.")] = SUCCEEDED,
) -> None:
    """Send a dummy Stripe event for an order to the running stack's webhook."""
    description = require_running_stack()
    statuses = stripe_events.send(description, order, event_type, os.environ.get("STRIPE_WEBHOOK_SECRET"))
    for intent_id, status in statuses.items():
        sys.stdout.write(f"{event_type} for {intent_id}: the webhook returned {status}\n")


EnvVars = Annotated[
    Path | None,
    typer.Option(envvar="ENV_VARS", exists=True, dir_okay=False, help="JSON file with the functions' environment."),
]


@app.command("sam-local")
def start_sam_local(
    port: Annotated[int, typer.Option(envvar="PORT", min=1, max=65535, help="Port of the API.")] = 3001,
    env_vars: EnvVars = None,
    with_parent: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Serve the API with `sam local start-api` until Ctrl-C, on the tables of the running stack or of --env-vars."""
    if with_parent:
        stop_with_parent()
    console = make_console()
    with sam_local.prepare_sam_local(env_vars, make_progress(console)) as sam:
        api_url = f"http://127.0.0.1:{port}"
        console.print(f"\nThe API will be at [bold]{api_url}[/], without a stage. Press Ctrl-C to stop.")
        console.print("The first call of a function takes some seconds, because it starts a container.\n")
        code = sam.start_api(port)
    raise typer.Exit(code)


@app.command("sam-invoke")
def sam_invoke(
    function: Annotated[str, typer.Option(envvar="FUNCTION", help="Name of a folder in functions/.")],
    event: Annotated[
        Path | None,
        typer.Option(envvar="EVENT", exists=True, dir_okay=False, help="Event file. Default: events/FUNCTION.json."),
    ] = None,
    env_vars: EnvVars = None,
) -> None:
    """Invoke one function with `sam local invoke`, on the tables of the running stack or of --env-vars."""
    functions = sorted(path.parent.name for path in PROJECT.glob("functions/*/handler.py"))
    if function not in functions:
        raise CommandError(f"Unknown function {function}. Set FUNCTION to one of: {', '.join(functions)}")
    # Standard output is for the function's response.
    progress = make_progress(Console(stderr=True, highlight=False))
    with sam_local.prepare_sam_local(env_vars, progress, for_events=True) as sam:
        code = sam.invoke(function, event or sam_local.EVENTS / f"{function}.json")
    raise typer.Exit(code)


@app.command("doctor")
def run_doctor() -> None:
    """Check that this machine has what the stack and its tests need."""
    if not doctor.report():
        raise typer.Exit(1)


app.add_typer(shop_cli.app)


def _load_sample_catalogue(stack: Stack, api: httpx.Client, console: Console) -> None:
    """Load the sample catalogue with an admin's client, pay one order, and show it."""
    progress = make_progress(console)
    rows = catalogue.read(catalogue.SAMPLE)
    with progress(f"Load the sample catalogue ({len(rows)} products)"):
        loaded = seed.load(api, rows)
    if loaded.bad:
        raise CommandError(f"The API refused the sample catalogue: {loaded.bad}. See .local/logs.")
    with progress("Place and pay an order"):
        paid_order = demo.pay_one_order(api, stack.tokens["buyer"])
    demo.show(paid_order, console)


def _print_addresses(stack: Stack, console: Console, *, is_persistent: bool) -> None:
    origin = stack.api_url.removesuffix(f"/{STAGE}")
    lines = (
        ("console", f"{origin}/"),
        ("API", stack.api_url),
        ("API docs", f"{origin}/docs"),
        ("tokens", f"{', '.join(stack.tokens)} in .local/stack.json"),
        ("", "more: make token SUB=alice ROLES=buyer"),
        ("logs", "below, one line per event, except reads"),
        ("", "all lines: .local/logs/functions.log"),
        ("code", "changed functions/ and layers/ run at once"),
        ("", "other changes: at the next make run"),
        ("", ""),
        ("try next", f"pay in the console: {origin}/"),
        # A backslash joins the two lines, so that they can be copied from a narrow terminal.
        ("", 'curl -H "Authorization: Bearer $(./shop token)" \\'),
        ("", f"  {stack.api_url}/products"),
        ("", f"./shop order {SAMPLE_PRODUCT}:2"),
        ("", "./shop pay"),
        ("", "./shop orders"),
    )
    console.print()
    for label, value in lines:
        # No rich table, which would cut the text at the terminal's width.
        console.print(Text.assemble("  ", (f"{label:<9}", "dim"), value) if value else "", soft_wrap=True)
    console.print()
    if is_persistent:
        console.print("Press Ctrl-C to stop.")
        console.print(f"Orders and products stay in {_SAVED_TABLES.relative_to(PROJECT)}.")
        console.print("To continue with them: make run PERSIST=1")
    else:
        console.print("Press Ctrl-C to stop and discard all orders and products.")
        console.print("To keep them for the next run: make run PERSIST=1")
    console.print()


def main() -> None:
    stop_on_signals()
    use_local_aws_settings()
    run_program(app, PROGRAM)
