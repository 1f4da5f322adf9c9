"""Run the whole stack on this machine and use its shop."""

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
from local.shop.cards import payment_method
from local.shop.client import Buyer, bearer, newest_orders, open_api_client, require_order_id, suggest_next_step
from local.shop.order_list import STATUS_STYLES
from local.shop.stripe_events import SUCCEEDED
from local.stack import DUMMY_STRIPE_KEY, Stack, start_stack
from local.tokens import TokenIssuer
from order_payments.domain.identity import Role

# Settings of the functions that may be given in the environment, and the template's parameters for them.
_PARAMETERS = {
    "STRIPE_SECRET_KEY": "StripeSecretKey",
    "STRIPE_BACKEND": "StripeBackend",
    "STRIPE_API_BASE": "StripeApiBase",
    "STRIPE_WEBHOOK_SECRET": "StripeWebhookSecret",
    "CORS_ALLOWED_ORIGINS": "CorsAllowedOrigins",
}

_BAD_ROWS_SHOWN = 20
_CENTURY_SECONDS = 100 * 365 * 24 * 3600

PROGRAM = "shop"
"""The script in the project's root; shells complete its commands by this name."""

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def run(
    port: Annotated[int, typer.Option(envvar="PORT", min=1, max=65535, help="Port of the API.")] = 3000,
    with_parent: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run the whole stack on this machine, until Ctrl-C."""
    if with_parent:
        stop_with_parent()
    console = make_console()
    progress = make_progress(console)
    parameters = {name: os.environ[variable] for variable, name in _PARAMETERS.items() if os.environ.get(variable)}
    if not parameters.get("StripeSecretKey", DUMMY_STRIPE_KEY).startswith("sk_test_"):
        raise CommandError("STRIPE_SECRET_KEY must be a test mode key: it must begin with sk_test_")
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
                raise CommandError(f"The sample catalogue was refused: {loaded.bad}")
            with progress("Place an order and pay it"):
                shown = demo.pay_one_order(api, stack.tokens["buyer"])
        demo.show(shown, console)
        with stack.publish_description():
            _print_addresses(stack, console)
            ready.set()
            stack.emulator.process.wait()
        raise CommandError(f"The AWS emulator has ended by itself. See {stack.emulator.log}.")


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
            help="Seconds until it expires; negative: expired.",
        ),
    ] = 12 * 3600,
) -> None:
    """Print a token for the running stack."""
    named = [role.strip() for role in roles.split(",") if role.strip()]
    # Whoever wants a token that says otherwise, for a test, has `TokenIssuer.token`.
    if unknown := [role for role in named if role not in tuple(Role)]:
        raise CommandError(
            f"There is no role {', '.join(map(repr, unknown))}. The roles are {', '.join(Role)}: "
            f"make token SUB=alice ROLES={','.join(Role)}"
        )
    description = require_running_stack()
    identity = TokenIssuer.load(
        STATE / "signing-key.pem", description["jwks"], description["issuer"], description["audience"]
    )
    sys.stdout.write(identity.token(sub, named, expires_in=timedelta(seconds=exp)) + "\n")


@app.command()
def event(
    order: Annotated[str, typer.Option(envvar="ORDER", help="Id of an order that has a payment attempt.")],
    event_type: Annotated[str, typer.Option("--type", envvar="TYPE", help="Type of the event.")] = SUCCEEDED,
) -> None:
    """Send an event of the dummy Stripe about an order's payment to the running stack's webhook."""
    description = require_running_stack()
    statuses = stripe_events.send(description, order, event_type, os.environ.get("STRIPE_WEBHOOK_SECRET"))
    for intent_id, status in statuses.items():
        sys.stdout.write(f"{event_type} of {intent_id} was answered {status}\n")


EnvVars = Annotated[
    Path | None,
    typer.Option(envvar="ENV_VARS", exists=True, dir_okay=False, help="The functions' environment, as JSON."),
]


@app.command("sam-local")
def start_sam_local(
    port: Annotated[int, typer.Option(envvar="PORT", min=1, max=65535, help="Port of the API.")] = 3001,
    env_vars: EnvVars = None,
    with_parent: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Serve the API with `sam local start-api`, until Ctrl-C: on the running stack's tables, or those of --env-vars."""
    if with_parent:
        stop_with_parent()
    console = make_console()
    with sam_local.prepare_sam_local(env_vars, make_progress(console)) as sam:
        api_url = f"http://127.0.0.1:{port}"
        console.print(f"\nThe API will answer at [bold]{api_url}[/], without a stage. Ctrl-C stops everything.")
        console.print("The first call of a function takes some seconds: its container is made then.\n")
        code = sam.start_api(port)
    raise typer.Exit(code)


@app.command("sam-invoke")
def sam_invoke(
    function: Annotated[str, typer.Option(envvar="FUNCTION", help="A folder in functions/.")],
    event: Annotated[
        Path | None, typer.Option(envvar="EVENT", exists=True, dir_okay=False, help="The event; events/FUNCTION.json.")
    ] = None,
    env_vars: EnvVars = None,
) -> None:
    """Call one function with `sam local invoke`: on the running stack's tables, or those of --env-vars."""
    functions = sorted(path.parent.name for path in PROJECT.glob("functions/*/handler.py"))
    if function not in functions:
        raise CommandError(f"There is no function {function}. FUNCTION is one of: {', '.join(functions)}")
    # Standard output is for the function's answer alone.
    progress = make_progress(Console(stderr=True, highlight=False))
    with sam_local.prepare_sam_local(env_vars, progress, for_events=True) as sam:
        code = sam.invoke(function, event or sam_local.EVENTS / f"{function}.json")
    raise typer.Exit(code)


@app.command("seed")
def load_seed(
    file: Annotated[Path, typer.Argument(help="A catalogue, .json or .csv, like local/shop/catalogue.json.")],
    set_stock: Annotated[
        bool, typer.Option("--set-stock", help="Set the stock of existing products, too. It overwrites what was sold.")
    ] = False,
) -> None:
    """Load a catalogue into the running stack. Bad rows are reported by number; the others are loaded."""
    console = make_console()
    rows = catalogue.read(file)
    with open_api_client("admin") as shop, count_progress(console, f"Load {file.name}", len(rows)) as one_is_done:
        report = seed.load(shop, rows, set_stock=set_stock, done=one_is_done)
    console.print(f"{report.loaded} of {len(rows)} products are loaded.")
    if not set_stock:
        console.print("Existing products keep their stock. To set it, too: --set-stock", style="dim", soft_wrap=True)
    for number, reason in list(report.bad.items())[:_BAD_ROWS_SHOWN]:
        console.print(f"  row {number}: {reason}", style="red", markup=False, soft_wrap=True)
    if len(report.bad) > _BAD_ROWS_SHOWN:
        console.print(f"  and {len(report.bad) - _BAD_ROWS_SHOWN} more", style="red")
    if report.bad:
        console.print("Correct these rows and load the file again: what is loaded stays as it is.", soft_wrap=True)
        raise typer.Exit(1)


As = Annotated[Buyer, typer.Option("--as", help="Whose orders.")]


@app.command()
def orders(user: As = Buyer.BUYER, limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20) -> None:
    """List a buyer's orders in the running stack, the newest first."""
    console = make_console()
    with open_api_client(user) as shop:
        found = list(newest_orders(shop, limit))
    if not found:
        console.print(f"{user} has no orders yet. Place one at the console, or as the README shows.", soft_wrap=True)
        return
    for line in order_list.format_orders(found, width_of(console)):
        console.print(line, soft_wrap=True)


@app.command()
def pay(
    order: Annotated[str, typer.Argument(help="Id of the order.")],
    card: Annotated[str, typer.Option(help="A test payment method, with or without pm_card_ or pm_.")] = "visa",
    user: As = Buyer.BUYER,
) -> None:
    """Pay an order in the running stack."""
    console = make_console()
    token = payment_method(card)
    with open_api_client(user) as shop:
        require_order_id(order)
        answer = shop.post(f"/orders/{order}/payment", json={"paymentMethodId": token})
    body = answer.json()
    status = body if answer.is_success else body.get("order", {})
    phrase = HTTPStatus(answer.status_code).phrase
    console.print(f"{answer.status_code} {phrase}, {token}, {answer.elapsed.total_seconds():.2f} s", soft_wrap=True)
    if not answer.is_success:
        console.print(f"{body['code']}: {body['detail']}", style="red", markup=False, soft_wrap=True)
    if status:
        console.print(Text.assemble("The order is ", (status["status"], STATUS_STYLES[status["status"]])))
    if advice := suggest_next_step(order, user, "" if answer.is_success else body["code"], status.get("status")):
        console.print(advice, markup=False, soft_wrap=True)
    if not answer.is_success:
        raise typer.Exit(1)


@app.command()
def reconcile() -> None:
    """Run the running stack's reconciler now instead of at the next minute."""
    tally = reconciler.run(require_running_stack())
    console = make_console()
    console.print("  ".join(f"{name.replace('_', ' ')} [bold]{number}[/]" for name, number in tally.items()))
    console.print("An attempt is left to its payer for 45 seconds.", style="dim")


@app.command("doctor")
def examine() -> None:
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
    console.print(f"\nThis machine can run the stack{'' if is_running() else ': make run'}")


def _print_addresses(stack: Stack, console: Console) -> None:
    origin = stack.api_url.removesuffix(f"/{STAGE}")
    lines = (
        ("console", f"{origin}/"),
        ("API", stack.api_url),
        ("API docs", f"{origin}/docs"),
        ("tokens", f"{', '.join(stack.tokens)} in .local/stack.json"),
        ("", "others: make token SUB=alice ROLES=buyer"),
        ("logs", "below, without reads that succeeded"),
        ("", "all of them: .local/logs/functions.log"),
        ("", ""),
        ("try next", f"pay in the console: {origin}/"),
        # In two lines that a shell takes as one: it can be copied from a terminal of any width.
        ("", 'curl -H "Authorization: Bearer $(./shop token)" \\'),
        ("", f"  {stack.api_url}/products"),
        ("", "./shop orders"),
    )
    console.print()
    for label, value in lines:
        # Not a table of rich's, which would cut what is to be copied to the terminal's width.
        console.print(Text.assemble("  ", (f"{label:<9}", "dim"), value) if value else "", soft_wrap=True)
    console.print("\nCtrl-C stops everything.\n")


def main() -> None:
    stop_on_signals()
    use_local_aws_settings()
    run_program(app, PROGRAM)
