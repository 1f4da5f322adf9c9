"""Demo of one order: place it, pay it over HTTP, and show the stock."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from command_line.errors import CommandError
from local.shop.client import bearer, require_status
from order_payments.domain import money

_LINES: Mapping[str, int] = {"espresso-cup": 2, "house-blend-1kg": 1}
_PAYMENT_METHOD = "pm_card_visa"


@dataclass(slots=True)
class Demo:
    """The requests, their responses, and the products before and after the payment."""

    steps: list[tuple[str, int, str]] = field(default_factory=list)
    order: dict[str, Any] = field(default_factory=dict)
    before: dict[str, dict[str, Any]] = field(default_factory=dict)
    after: dict[str, dict[str, Any]] = field(default_factory=dict)


def pay_one_order(api: httpx.Client, buyer_token: str) -> Demo:
    """Place an order, pay it and read its status. Raises `CommandError` if a result is unexpected."""
    headers = bearer(buyer_token)
    demo = Demo()

    def call(method: str, path: str, status: int, **body: Any) -> dict[str, Any]:
        response = api.request(method, path.format_map(demo.order), headers=headers, **body)
        result = require_status(response, status)
        # The path keeps its placeholder: the id would break the line, and is shown below.
        request = f"{method} {api.base_url.path.rstrip('/')}{path}"
        demo.steps.append((request, response.status_code, str(result.get("status", ""))))
        return result

    demo.before = _products(api, headers)
    items = [{"productId": product_id, "quantity": quantity} for product_id, quantity in _LINES.items()]
    demo.order = call("POST", "/orders", 201, json={"items": items})
    call("POST", "/orders/{orderId}/payment", 200, json={"paymentMethodId": _PAYMENT_METHOD})
    demo.order |= call("GET", "/orders/{orderId}/status", 200)
    demo.after = _products(api, headers)

    if demo.order["status"] != "confirmed":
        raise CommandError(f"The paid order is {demo.order['status']} instead of confirmed. See .local/logs.")
    for product_id, quantity in _LINES.items():
        if demo.after[product_id]["stock"] != demo.before[product_id]["stock"] - quantity:
            raise CommandError(f"The order is confirmed, but the stock of {product_id} is wrong. See .local/logs.")
    return demo


def show(demo: Demo, console: Console) -> None:
    steps = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for request, status, outcome in demo.steps:
        steps.add_row(Text(request, overflow="fold"), Text(str(status), "bold green"), outcome)

    order = demo.order
    facts = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    for name, value in (
        ("order", order["orderId"]),
        ("buyer", order["buyerId"]),
        ("status", Text(order["status"], "bold green")),
        ("total", money.as_text(order["totalAmount"], order["currency"])),
        ("payment", f"{order['paymentMethod']}, {_PAYMENT_METHOD}"),
        ("intent", str(order["paymentIntentId"])),
    ):
        facts.add_row(name, value)

    stock = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    stock.add_column("product", overflow="fold")
    for heading in ("price", "ordered", "stock"):
        stock.add_column(heading, justify="right", no_wrap=True)
    for item in order["items"]:
        product_id = item["productId"]
        stock.add_row(
            item["name"],
            money.as_text(item["unitPrice"], order["currency"]),
            str(item["quantity"]),
            Text.assemble(f"{demo.before[product_id]['stock']} → ", (str(demo.after[product_id]["stock"]), "bold")),
        )
    console.print(
        Panel(Group(steps, "", facts, "", stock), title="One order, paid end to end", padding=1, expand=False)
    )


def _products(api: httpx.Client, headers: dict[str, str]) -> dict[str, dict[str, Any]]:
    return {
        product_id: require_status(api.get(f"/products/{product_id}", headers=headers), 200) for product_id in _LINES
    }
