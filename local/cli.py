"""Run the stack on this machine and use its shop."""

import os
import sys
import threading
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from command_line.environment import use_local_aws_settings
from command_line.errors import CommandError
from command_line.output import count_progress, make_console, make_progress, width_of
from command_line.program import run_program
from command_line.project import PROJECT, STATE
from command_line.signals import stop_on_signals, stop_with_parent
from local import doctor
from local.emulator.deploy import STAGE
from local.running import is_running, require_running_stack
from local.sam_local import sam as sam_local
from local.shop import catalogue, demo, order_list, reconciler, seed, stripe_events
from local.shop.cards import resolve_payment_method
from local.shop.client import Buyer, bearer, newest_orders, open_api_client, require_order_id, suggest_next_step
from local.shop.order_list import STATUS_STYLES
from local.shop.stripe_events import SUCCEEDED
from local.stack import DUMMY_STRIPE_KEY, Stack, start_stack
from local.tokens import TokenIssuer
from order_payments.domain.identity import Role

# Environment variables that `make run` passes on, and the template parameters that they set.
_PARAMETERS = {
    "STRIPE_SECRET_KEY": "StripeSecretKey",
    "STRIPE_BACKEND": "StripeBackend",
    "STRIPE_API_BASE": "StripeApiBase",
    "STRIPE_WEBHOOK_SECRET": "StripeWebhookSecret",
    "CORS_ALLOWED_ORIGINS": "CorsAllowedOrigins",
}

_MAX_BAD_ROWS_SHOWN = 20
_CENTURY_SECONDS = 100 * 365 * 24 * 3600

PROGRAM = "shop"
"""Name of the script in the project's root, for tab completion."""

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def run(
    port: Annotated[int, typer.Option(envvar="PORT", min=1, max=65535, help="Port of the API.")] = 3000,
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
        progress=progress,
        show_log=lambda line: console.print(line, soft_wrap=True) if ready.is_set() else None,
    ) as stack:
        rows = catalogue.read(catalogue.SAMPLE)
        with stack.http() as api:
            with progress(f"Load the sample catalogue ({len(rows)} products)"):
                api.headers.update(bearer(stack.tokens["admin"]))
                loaded = seed.load(api, rows)
            if loaded.bad:
                raise CommandError(f"The API refused the sample catalogue: {loaded.bad}. See .local/logs.")
            with progress("Place and pay an order"):
                paid_order = demo.pay_one_order(api, stack.tokens["buyer"])
        demo.show(paid_order, console)
        with stack.publish_description():
            _print_addresses(stack, console)
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
    description = require_running_stack()
    identity = TokenIssuer.load(
        STATE / "signing-key.pem", description["jwks"], description["issuer"], description["audience"]
    )
    sys.stdout.write(identity.token(sub, requested, expires_in=timedelta(seconds=exp)) + "\n")


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


@app.command("seed")
def load_catalogue(
    file: Annotated[Path, typer.Argument(help="Catalogue file, .json or .csv, such as local/shop/catalogue.json.")],
    set_stock: Annotated[
        bool, typer.Option("--set-stock", help="Also set the stock of existing products. This overwrites sales.")
    ] = False,
) -> None:
    """Load a catalogue into the running stack. Bad rows are skipped and reported with their row number."""
    console = make_console()
    rows = catalogue.read(file)
    with open_api_client("admin") as shop, count_progress(console, f"Load {file.name}", len(rows)) as on_row_done:
        report = seed.load(shop, rows, set_stock=set_stock, on_row_done=on_row_done)
    console.print(f"Loaded {report.loaded} of {len(rows)} products.")
    if not set_stock:
        console.print("Existing products kept their stock. To set it: --set-stock", style="dim", soft_wrap=True)
    for number, reason in list(report.bad.items())[:_MAX_BAD_ROWS_SHOWN]:
        console.print(f"  row {number}: {reason}", style="red", markup=False, soft_wrap=True)
    if len(report.bad) > _MAX_BAD_ROWS_SHOWN:
        console.print(f"  and {len(report.bad) - _MAX_BAD_ROWS_SHOWN} more", style="red")
    if report.bad:
        console.print("Correct these rows and load the file again. Loaded products stay unchanged.", soft_wrap=True)
        raise typer.Exit(1)


AsBuyer = Annotated[Buyer, typer.Option("--as", help="Buyer who owns the orders.")]


@app.command()
def orders(
    user: AsBuyer = Buyer.BUYER, limit: Annotated[int, typer.Option(min=1, help="Number of orders.")] = 20
) -> None:
    """List a buyer's orders in the running stack, newest first."""
    console = make_console()
    with open_api_client(user) as shop:
        found = list(newest_orders(shop, limit))
    if not found:
        console.print(f"{user} has no orders. Place one in the console, or as the README shows.", soft_wrap=True)
        return
    for line in order_list.format_orders(found, width_of(console)):
        console.print(line, soft_wrap=True)


@app.command()
def pay(
    order: Annotated[str, typer.Argument(help="Order id.")],
    card: Annotated[str, typer.Option(help="Test payment method, with or without pm_card_ or pm_.")] = "visa",
    user: AsBuyer = Buyer.BUYER,
) -> None:
    """Pay an order in the running stack."""
    console = make_console()
    token = resolve_payment_method(card)
    with open_api_client(user) as shop:
        require_order_id(order)
        response = shop.post(f"/orders/{order}/payment", json={"paymentMethodId": token})
    body = response.json()
    status = body if response.is_success else body.get("order", {})
    phrase = HTTPStatus(response.status_code).phrase
    console.print(f"{response.status_code} {phrase}, {token}, {response.elapsed.total_seconds():.2f} s", soft_wrap=True)
    if not response.is_success:
        console.print(f"{body['code']}: {body['detail']}", style="red", markup=False, soft_wrap=True)
    if status:
        console.print(Text.assemble("The order is ", (status["status"], STATUS_STYLES[status["status"]])))
    if advice := suggest_next_step(order, user, "" if response.is_success else body["code"], status.get("status")):
        console.print(advice, markup=False, soft_wrap=True)
    if not response.is_success:
        raise typer.Exit(1)


@app.command()
def reconcile() -> None:
    """Run the reconciler of the running stack now. It runs every minute otherwise."""
    tally = reconciler.run(require_running_stack())
    console = make_console()
    console.print("  ".join(f"{name.replace('_', ' ')} [bold]{number}[/]" for name, number in tally.items()))
    console.print("An attempt younger than 45 seconds is left to its payer.", style="dim")


@app.command("doctor")
def run_doctor() -> None:
    """Check that this machine has what the stack and its tests need."""
    console = make_console()
    missing = 0
    for finding in doctor.run_checks():
        mark = "[green]✓[/]" if finding.advice is None else "[red]✗[/]" if finding.is_required else "[yellow]![/]"
        console.print(f"{mark} {finding.name:<18}{finding.found}")
        if finding.advice is not None:
            console.print(f"  {finding.advice}", style="bold" if finding.is_required else "", soft_wrap=True)
            missing += finding.is_required
    if missing:
        raise typer.Exit(1)
    console.print(f"\nThis machine can run the stack{'.' if is_running() else ': make run'}")


def _print_addresses(stack: Stack, console: Console) -> None:
    origin = stack.api_url.removesuffix(f"/{STAGE}")
    lines = (
        ("console", f"{origin}/"),
        ("API", stack.api_url),
        ("API docs", f"{origin}/docs"),
        ("tokens", f"{', '.join(stack.tokens)} in .local/stack.json"),
        ("", "more: make token SUB=alice ROLES=buyer"),
        ("logs", "below, except successful reads"),
        ("", "all lines: .local/logs/functions.log"),
        ("", ""),
        ("try next", f"pay in the console: {origin}/"),
        # A backslash joins the two lines, so that they can be copied from a narrow terminal.
        ("", 'curl -H "Authorization: Bearer $(./shop token)" \\'),
        ("", f"  {stack.api_url}/products"),
        ("", "./shop orders"),
    )
    console.print()
    for label, value in lines:
        # No rich table, which would cut the text at the terminal's width.
        console.print(Text.assemble("  ", (f"{label:<9}", "dim"), value) if value else "", soft_wrap=True)
    console.print("\nPress Ctrl-C to stop.\n")


def main() -> None:
    stop_on_signals()
    use_local_aws_settings()
    run_program(app, PROGRAM)
