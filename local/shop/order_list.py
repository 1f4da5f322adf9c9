"""Orders as readable lines. An id, a status or an amount is never cut."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from order_payments.domain import money

STATUS_STYLES: Mapping[str, str] = {"pending": "yellow", "confirmed": "bold green", "cancelled": "red"}

# Below this width the reason and the items get a line of their own.
_MIN_WIDE_COLUMNS = 100
_GAP = "  "
_HEADINGS = {"orderId": "order", "status": "status", "total": "total"}


def format_orders(
    orders: Iterable[Mapping[str, Any]], width: int | None, *, show_buyers: bool = False
) -> Iterator[Text]:
    """Yield a heading and the orders, clipped to `width` columns. `None` clips nothing.

    The order id is the first word of its line, for scripts.
    """
    rows = [_make_row(order, show_buyer=show_buyers) for order in orders]
    widths = {name: max(cell_len(row[name]) for row in (_HEADINGS, *rows)) for name in _HEADINGS}
    gap = _GAP if width is None or sum(widths.values()) + 2 * len(_GAP) <= width else " "
    is_wide = width is None or width >= _MIN_WIDE_COLUMNS

    def line(row: Mapping[str, str], style: str) -> Text:
        start = f"{row['orderId']:<{widths['orderId']}}{gap}"
        status = f"{row['status']:<{widths['status']}}"
        text = Text.assemble(start, (status, style), gap, f"{row['total']:>{widths['total']}}")
        return clip(text.append(f"{_GAP}{row['about']}"), width) if is_wide else text

    heading = line({**_HEADINGS, "about": f"{'buyer, ' if show_buyers else ''}reason and items"}, "")
    heading.stylize("dim")
    yield heading
    for row in rows:
        yield line(row, STATUS_STYLES[row["status"]])
        if not is_wide:
            yield clip(Text(f"  {row['about']}"), width)


def format_order(order: Mapping[str, Any]) -> Iterator[Text]:
    """Yield the facts of an order or a status object, one per line."""
    facts = {
        "order": order["orderId"],
        "status": Text(order["status"], STATUS_STYLES[order["status"]]),
        "total": money.as_text(order["totalAmount"], order["currency"]),
        "items": _describe_items(order) if "items" in order else None,
        "buyer": order["buyerId"],
        "payment": order["paymentIntentId"] or "not attempted",
        "refunded": money.as_text(order["refundedAmount"], order["currency"]) if "refundedAmount" in order else None,
        "reason": order["reason"]["message"] if order["reason"] else None,
        "placed": order["createdAt"],
        "changed": order["updatedAt"],
        "expires": order.get("expiresAt") if order["status"] == "pending" else None,
    }
    for name, value in facts.items():
        if value is not None:
            yield Text.assemble((f"{name:<9}", "dim"), value)


def _describe_items(order: Mapping[str, Any]) -> str:
    return ", ".join(f"{item['quantity']} x {item['name']}" for item in order["items"])


def _make_row(order: Mapping[str, Any], *, show_buyer: bool) -> dict[str, str]:
    # The items come last, because the end is clipped.
    about = [order["buyerId"]] if show_buyer else []
    about += [order["reason"]["message"]] if order["reason"] else []
    return {
        "orderId": order["orderId"],
        "status": order["status"],
        "total": money.as_text(order["totalAmount"], order["currency"]),
        "about": " ".join([*about, _describe_items(order)]),
    }


def clip(text: Text, width: int | None) -> Text:
    """Shorten a line to `width` columns, with an ellipsis at the end. `None` shortens nothing."""
    if width is not None:
        text.truncate(width, overflow="ellipsis")
    return text
