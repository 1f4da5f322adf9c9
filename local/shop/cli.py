"""Commands of `./shop` that use the shop of the running stack."""

import re
import shlex
import uuid
from enum import StrEnum
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from command_line.errors import CommandError
from command_line.output import count_progress, make_console, width_of
from local.emulator.process import open_emulator_client
from local.running import require_running_stack
from local.shop import catalogue, order_list, reconciler, seed
from local.shop.cards import resolve_payment_method
from local.shop.client import (
    SAMPLE_PRODUCT,
    describe_problem,
    is_payable,
    list_all,
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
from order_payments.domain.identity import Role
from order_payments.domain.orders import OrderStatus
from order_payments.domain.products import is_product_id

_MAX_BAD_ROWS_SHOWN = 20
_HEADER_VALUE = "[!-~]([ -~]{0,253}[!-~])?"
_AS_BUYER = "Only buyers can do this. Omit --as and --token to act as one. To list a buyer's orders: ./shop orders"
_AS_ADMIN = "Only admins can do this. Omit --as and --token to act as one."


class Outcome(StrEnum):
    """Status that an admin can set."""

    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


app = typer.Typer()


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
    key: Annotated[str | None, typer.Option(help="Idempotency key. Default: a new one.")] = None,
    user: AsUser = "admin",
    token: UserToken = None,
) -> None:
    """Refund an order, as an admin. A key that was used before repeats that refund's response."""
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
    key = str(uuid.uuid4()) if key is None else key
    if not re.fullmatch(_HEADER_VALUE, key):
        raise CommandError("--key must be 1 to 255 printable ASCII characters, without a space at its ends.")
    # Printed first: without a response, the same key prevents a second refund.
    console.print(
        f"Idempotency key: {key}. To repeat this refund safely: --key", style="dim", markup=False, soft_wrap=True
    )
    advice["busy"] = f"Run the command again with: --key {shlex.quote(key)}"
    with open_api_client(sign_in(user, token, role=Role.ADMIN)) as shop:
        response = shop.post(f"/admin/orders/{order}/refunds", json=body, headers={"Idempotency-Key": key})
        made = require_status(response, 201, 202, advice=advice)
        console.print(f"Refund {made['refundId']} is {made['status']}.", soft_wrap=True)
        shown = require_status(shop.get(f"/orders/{order}/status"), 200, advice={"busy": show})
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
