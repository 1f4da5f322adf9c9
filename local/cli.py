"""Run the stack on this machine and use its shop."""

import os
import re
import sys
import threading
from datetime import timedelta
from enum import StrEnum
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import httpx
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
from local.emulator.process import open_emulator_client
from local.running import require_running_stack
from local.sam_local import sam as sam_local
from local.shop import catalogue, demo, order_list, reconciler, seed, stripe_events
from local.shop.cards import resolve_payment_method
from local.shop.client import (
    SAMPLE_PRODUCT,
    bearer,
    describe_problem,
    is_payable,
    list_all,
    load_issuer,
    open_api_client,
    require_order_id,
    require_status,
    sign_in,
    suggest_after_payment,
    suggest_order,
)
from local.shop.new_products import write_new_products
from local.shop.order_list import STATUS_STYLES, format_order
from local.shop.product_list import format_products
from local.shop.stripe_events import SUCCEEDED
from local.stack import DUMMY_STRIPE_KEY, Stack, start_stack
from order_payments.domain.identity import Role
from order_payments.domain.orders import OrderStatus
from order_payments.domain.products import is_product_id

# Environment variables that `make run` passes on, and the template parameters that they set.
_PARAMETERS = {
    "STRIPE_SECRET_KEY": "StripeSecretKey",
    "STRIPE_BACKEND": "StripeBackend",
    "STRIPE_API_BASE": "StripeApiBase",
    "STRIPE_WEBHOOK_SECRET": "StripeWebhookSecret",
    "CORS_ALLOWED_ORIGINS": "CorsAllowedOrigins",
}

_SAVED_TABLES = STATE / "tables.json"
_MAX_BAD_ROWS_SHOWN = 20
_AS_BUYER = "Only buyers can do this. Omit --as and --token to act as one. To list a buyer's orders: ./shop orders"
_AS_ADMIN = "Only admins can do this. Omit --as and --token to act as one."
_CENTURY_SECONDS = 100 * 365 * 24 * 3600

PROGRAM = "shop"
"""Name of the script in the project's root, for tab completion."""


class Outcome(StrEnum):
    """Status that an admin can set."""

    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


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
    stack = require_running_stack()
    with (
        open_api_client(sign_in("admin")) as shop,
        open_emulator_client(stack["awsEndpointUrl"], "dynamodb") as dynamodb,
        count_progress(console, f"Load {file.name}", len(rows)) as on_row_done,
    ):
        others = write_new_products(dynamodb, stack["tables"], rows, on_row_done)
        report = seed.load(shop, others, set_stock=set_stock, on_row_done=on_row_done)
        report.loaded += len(rows) - len(others)
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


AsUser = Annotated[
    str, typer.Option("--as", metavar="NAME", help="User: buyer, buyer2, seller, admin, or any other user id.")
]
UserToken = Annotated[str | None, typer.Option("--token", help="Token of the user, instead of --as.")]
PaidOrder = Annotated[str | None, typer.Argument(help="Order id. Default: the newest order that can be paid.")]
ShownOrder = Annotated[str | None, typer.Argument(help="Order id. Default: the newest order.")]
Limit = Annotated[int, typer.Option(min=1, help="Number of lines.")]


@app.command()
def products(user: AsUser = "buyer", token: UserToken = None, limit: Limit = 20) -> None:
    """List the products of the running stack."""
    console = make_console()
    with open_api_client(sign_in(user, token)) as shop:
        found = list(islice(list_all(shop, "products", limit=limit + 1), limit + 1))
    for line in format_products(found[:limit], width_of(console)):
        console.print(line, soft_wrap=True)
    if len(found) > limit:
        console.print(f"There are more. To list them: ./shop products --limit {10 * limit}", soft_wrap=True)


@app.command("order")
def place_order(
    items: Annotated[list[str], typer.Argument(metavar="PRODUCT[:QUANTITY]...", help="Product ids and quantities.")],
    user: AsUser = "buyer",
    token: UserToken = None,
) -> None:
    """Place an order in the running stack, and print its id and total."""
    lines = [_parse_item(item) for item in items]
    console = make_console()
    account = sign_in(user, token)
    advice = {
        "unknown_product": "To list the products: ./shop products",
        "mixed_currencies": "Place one order for each currency. To list the prices: ./shop products",
        "forbidden": _AS_BUYER,
    }
    with open_api_client(account) as shop:
        order = require_status(shop.post("/orders", json={"items": lines}), 201, advice=advice)
    for line in order_list.format_orders([order], width_of(console)):
        console.print(line, soft_wrap=True)
    console.print(f"Pay it: ./shop pay {order['orderId']}{account.buyer_options}", markup=False, soft_wrap=True)


@app.command()
def orders(
    user: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="User. Default: buyer, or admin with --all.")
    ] = None,
    token: UserToken = None,
    limit: Limit = 20,
    is_for_all: Annotated[bool, typer.Option("--all", help="List the orders of all buyers, as an admin.")] = False,
    status: Annotated[OrderStatus | None, typer.Option(help="With --all: only orders with this status.")] = None,
) -> None:
    """List a buyer's orders in the running stack, or with --all those of all buyers, newest first."""
    if status and not is_for_all:
        raise CommandError(f"--status needs --all: ./shop orders --all --status {status}")
    console = make_console()
    role, path, advice = (Role.ADMIN, "admin/orders", _AS_ADMIN) if is_for_all else (Role.BUYER, "orders", _AS_BUYER)
    account = sign_in(user or role.value, token, role=role)
    filters = {"status": status.value} if status else {}
    # With a status, few orders of a page may match.
    page_size = 100 if status else limit
    with open_api_client(account) as shop:
        listed = list_all(shop, path, limit=page_size, advice={"forbidden": advice}, **filters)
        found = list(islice(listed, limit))
    if not found:
        nothing = (
            "There are no such orders." if is_for_all else f"{account.sub} has no orders. {suggest_order(account)}"
        )
        console.print(nothing, markup=False, soft_wrap=True)
        return
    for line in order_list.format_orders(found, width_of(console), show_buyers=is_for_all):
        console.print(line, soft_wrap=True)


@app.command()
def status(order: ShownOrder = None, user: AsUser = "buyer", token: UserToken = None) -> None:
    """Show an order of the running stack."""
    console = make_console()
    account = sign_in(user, token)
    with open_api_client(account) as shop:
        if order is None:
            advice = {"forbidden": _AS_BUYER}
            shown = next(list_all(shop, "orders", limit=1, advice=advice), None)
            if shown is None:
                raise CommandError(f"{account.sub} has no orders. {suggest_order(account)}")
        else:
            require_order_id(order)
            advice = {
                "order_not_found": "To list a buyer's orders: ./shop orders",
                "forbidden": "Act as its buyer, or as an admin: --as admin",
            }
            shown = require_status(shop.get(f"/orders/{order}/status"), 200, advice=advice)
    for line in format_order(shown):
        console.print(line, soft_wrap=True)


@app.command()
def pay(
    order: PaidOrder = None,
    card: Annotated[str, typer.Option(help="Test payment method, with or without pm_card_ or pm_.")] = "visa",
    user: AsUser = "buyer",
    token: UserToken = None,
) -> None:
    """Pay an order in the running stack."""
    console = make_console()
    payment_method = resolve_payment_method(card)
    account = sign_in(user, token)
    with open_api_client(account) as shop:
        if order is None:
            advice = {"forbidden": _AS_BUYER}
            payable = next(filter(is_payable, list_all(shop, "orders", advice=advice)), None)
            if payable is None:
                raise CommandError(f"{account.sub} has no order that can be paid. {suggest_order(account)}")
            order = str(payable["orderId"])
            console.print(f"Pay {order}", soft_wrap=True)
        require_order_id(order)
        response = shop.post(f"/orders/{order}/payment", json={"paymentMethodId": payment_method})
    body = response.json()
    shown = body if response.is_success else body.get("order", {})
    phrase = HTTPStatus(response.status_code).phrase
    console.print(
        f"{response.status_code} {phrase}, {payment_method}, {response.elapsed.total_seconds():.2f} s", soft_wrap=True
    )
    if not response.is_success:
        console.print(describe_problem(body), style="red", markup=False, soft_wrap=True)
    if shown:
        console.print(Text.assemble("The order is ", (shown["status"], STATUS_STYLES[shown["status"]])))
    if response.status_code != HTTPStatus.OK:
        console.print(suggest_after_payment(order, body.get("code", "")), markup=False, soft_wrap=True)
    if not response.is_success:
        raise typer.Exit(1)


@app.command()
def override(
    order: Annotated[str, typer.Argument(help="Order id.")],
    outcome: Annotated[Outcome, typer.Argument(help="New status.")],
    reason: Annotated[str, typer.Option(help="Reason, which the buyer sees.")],
    user: AsUser = "admin",
    token: UserToken = None,
) -> None:
    """Confirm or cancel an order by hand, as an admin."""
    require_order_id(order)
    console = make_console()
    advice = {
        "forbidden": _AS_ADMIN,
        "order_not_found": "To list a buyer's orders: ./shop orders",
        "order_not_pending": f"Show it: ./shop status {order} --as admin",
        "payment_in_progress": "Wait for the outcome: ./shop reconcile --wait",
        "insufficient_stock": f"Cancel it: ./shop override {order} cancelled --reason 'Out of stock.'",
    }
    with open_api_client(sign_in(user, token, role=Role.ADMIN)) as shop:
        response = shop.put(f"/admin/orders/{order}/status", json={"status": outcome, "reason": reason})
        shown = require_status(response, 200, advice=advice)
    for line in format_order(shown):
        console.print(line, soft_wrap=True)


@app.command()
def refund(
    order: Annotated[str, typer.Argument(help="Order id.")],
    reason: Annotated[str, typer.Option(help="Reason, which is recorded.")],
    amount: Annotated[
        int | None, typer.Option(min=1, help="Amount in the currency's minor unit. Default: the rest of the charge.")
    ] = None,
    restock: Annotated[
        list[str] | None, typer.Option(metavar="PRODUCT[:QUANTITY]", help="Units to put back on the shelf.")
    ] = None,
    user: AsUser = "admin",
    token: UserToken = None,
) -> None:
    """Refund an order, as an admin."""
    require_order_id(order)
    console = make_console()
    body: dict[str, Any] = {"reason": reason, "restock": [_parse_item(item) for item in restock or []]}
    if amount is not None:
        body["amount"] = amount
    show = f"Show it: ./shop status {order} --as admin"
    advice = {
        "forbidden": _AS_ADMIN,
        "order_not_found": "To list all orders: ./shop orders --all",
        "not_refundable": show,
        "refund_too_large": show,
    }
    with open_api_client(sign_in(user, token, role=Role.ADMIN)) as shop:
        made = require_status(shop.post(f"/admin/orders/{order}/refunds", json=body), 201, 202, advice=advice)
        shown = require_status(shop.get(f"/orders/{order}/status"), 200)
    console.print(f"Refund {made['refundId']} is {made['status']}.", soft_wrap=True)
    for line in format_order(shown):
        console.print(line, soft_wrap=True)


@app.command()
def reconcile(
    wait: Annotated[bool, typer.Option("--wait", help="Wait until every payment in flight is settled.")] = False,
) -> None:
    """Run the reconciler of the running stack now. It runs every minute otherwise."""
    console = make_console()
    description = require_running_stack()
    tally = reconciler.settle_all(description, console.print) if wait else reconciler.run(description)
    console.print("  ".join(f"{name.replace('_', ' ')} [bold]{number}[/]" for name, number in tally.items()))
    # Also after the wait: the scheduled run may have settled what this one waited for, so its tally can be 0.
    unsettled = reconciler.seconds_to_settle(description)
    console.print(reconciler.describe_unsettled(unsettled))
    if unsettled:
        console.print("To wait for the outcome: ./shop reconcile --wait", style="dim")


@app.command("doctor")
def run_doctor() -> None:
    """Check that this machine has what the stack and its tests need."""
    if not doctor.report():
        raise typer.Exit(1)


def _parse_item(text: str) -> dict[str, Any]:
    """Return a line of an order for `PRODUCT` or `PRODUCT:QUANTITY`."""
    product_id, colon, quantity = text.partition(":")
    if not is_product_id(product_id):
        raise CommandError(f"{product_id!r} is not a product id. To list the products: ./shop products")
    if colon and not re.fullmatch("[0-9]{1,9}", quantity):
        raise CommandError(
            f"{quantity!r} is not a quantity. Write a whole number after the colon, as in: "
            f"./shop order {SAMPLE_PRODUCT}:2"
        )
    return {"productId": product_id, "quantity": int(quantity) if colon else 1}


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
