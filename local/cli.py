"""The whole stack on this machine: the commands behind `make run` and the targets that go with it."""

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from local import demo, sam_local, seed, stripe_events
from local.console import make_console, progress_on
from local.errors import StackError
from local.signals import Stopped, stop_on_signals, stop_with_parent
from local.stack import DUMMY_STRIPE_KEY, PROJECT, STATE, Stack, running_description, running_stack
from local.stripe_events import SUCCEEDED
from local.tokens import TokenIssuer

# Settings of the functions that may be given in the environment, and the template's parameters for them.
_PARAMETERS = {
    "STRIPE_SECRET_KEY": "StripeSecretKey",
    "STRIPE_BACKEND": "StripeBackend",
    "STRIPE_API_BASE": "StripeApiBase",
    "STRIPE_WEBHOOK_SECRET": "StripeWebhookSecret",
}

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def run(
    port: Annotated[int, typer.Option(envvar="PORT", min=1, max=65535, help="Port of the API.")] = 3000,
    with_parent: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run the whole stack on this machine, until Ctrl-C."""
    if with_parent:
        stop_with_parent()
    console = make_console()
    progress = progress_on(console)
    parameters = {name: os.environ[variable] for variable, name in _PARAMETERS.items() if os.environ.get(variable)}
    if not parameters.get("StripeSecretKey", DUMMY_STRIPE_KEY).startswith("sk_test_"):
        raise StackError("STRIPE_SECRET_KEY must be a test mode key: it must begin with sk_test_")
    with running_stack(port=port, state=STATE, parameters=parameters, progress=progress) as stack:
        with stack.http() as api:
            with progress(f"Load the sample catalogue ({len(seed.catalogue())} products)"):
                seed.load_catalogue(api, stack.tokens["admin"])
            with progress("Place an order and pay it"):
                shown = demo.pay_one_order(api, stack.tokens["buyer"])
        demo.show(shown, console)
        with stack.described():
            _say_where(stack, console)
            stack.emulator.process.wait()
        raise StackError(f"The AWS emulator has ended by itself. See {stack.emulator.log}.")


@app.command()
def token(
    sub: Annotated[str, typer.Option(envvar="SUB", help="User id.")] = "buyer-1",
    roles: Annotated[str, typer.Option(envvar="ROLES", help="Roles, separated by commas.")] = "buyer",
    exp: Annotated[int, typer.Option(envvar="EXP", help="Seconds until it expires; negative: expired.")] = 12 * 3600,
) -> None:
    """Print a token for the running stack."""
    description = running_description()
    if description is None:
        raise StackError("No stack is running, so there is no key to sign with. Start it: make run")
    identity = TokenIssuer.load(
        STATE / "signing-key.pem", description["jwks"], description["issuer"], description["audience"]
    )
    named = [role.strip() for role in roles.split(",") if role.strip()]
    sys.stdout.write(identity.token(sub, named, expires_in=timedelta(seconds=exp)) + "\n")


@app.command()
def event(
    order: Annotated[str, typer.Option(envvar="ORDER", help="Id of an order that somebody tried to pay.")],
    event_type: Annotated[str, typer.Option("--type", envvar="TYPE", help="What it says.")] = SUCCEEDED,
) -> None:
    """Have the dummy Stripe tell the webhook of the running stack about an order's payment."""
    description = running_description()
    if description is None:
        raise StackError("No stack is running, so there is nobody to tell. Start it: make run")
    statuses = stripe_events.tell(description, order, event_type, os.environ.get("STRIPE_WEBHOOK_SECRET"))
    for intent_id, status in statuses.items():
        sys.stdout.write(f"{event_type} of {intent_id} was answered {status}\n")


@app.command()
def openapi() -> None:
    """Write the API's document anew, from the functions as they are."""
    # It loads every function: nothing that another command should wait for.
    from local import openapi as document

    document.DOCUMENT.write_text(document.text())


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
    with sam_local.prepared(env_vars, progress_on(console)) as sam:
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
        raise StackError(f"There is no function {function}. FUNCTION is one of: {', '.join(functions)}")
    # Standard output is for the function's answer alone.
    progress = progress_on(Console(stderr=True, highlight=False))
    with sam_local.prepared(env_vars, progress, for_events=True) as sam:
        code = sam.invoke(function, event or sam_local.EVENTS / f"{function}.json")
    raise typer.Exit(code)


def _say_where(stack: Stack, console: Console) -> None:
    console.print(f"\nThe API answers at [bold]{stack.api_url}[/]. Ctrl-C stops everything.\n")
    site = stack.api_url.removesuffix("/v1")
    for label, value in (
        ("console", f"{site}/"),
        ("try", f'curl -H "Authorization: Bearer $(make -s token)" {stack.api_url}/products/travel-mug'),
        ("tokens", "make token SUB=alice ROLES=buyer"),
        ("API docs", f"{site}/docs"),
        ("details", ".local/stack.json"),
        ("logs", ".local/logs/functions.log"),
    ):
        console.print(f"  [dim]{label:<9}[/]{value}", soft_wrap=True)
    console.print()


def main() -> None:
    """Run the program."""
    stop_on_signals()
    try:
        app()
    except Stopped:
        sys.stdout.write("\nStopped.\n")
    except StackError as error:
        sys.stderr.write(f"\n{error}\n")
        sys.exit(1)
