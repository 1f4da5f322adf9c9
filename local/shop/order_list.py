"""Orders as lines for people: one each where there is room, and never an id, a status or an amount that is cut."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from order_payments.domain import money

STATUS_STYLES: Mapping[str, str] = {"pending": "yellow", "confirmed": "bold green", "cancelled": "red"}

# What an order is about gets a line of its own below this: beside the rest there would be a few letters of it.
_WIDE = 100
_GAP = "  "
_INDENT = "  "
_HEADINGS = {"orderId": "order", "status": "status", "total": "total"}


def lines(orders: Iterable[Mapping[str, Any]], width: int | None) -> Iterator[Text]:
    """A heading and the orders, clipped to a terminal of `width` columns; of `None`, which is no terminal, not at all.

    An order's id is the first word of its line, for programs.
    """
    rows = [_words(order) for order in orders]
    widths = {name: max(cell_len(row[name]) for row in (_HEADINGS, *rows)) for name in _HEADINGS}
    gap = _GAP if width is None or sum(widths.values()) + 2 * len(_GAP) <= width else " "
    is_wide = width is None or width >= _WIDE
    items_width = max(cell_len(row["items"]) for row in ({"items": "items"}, *rows))
    if width is not None:
        rest = width - sum(widths.values()) - len(_GAP) * (len(widths) + 1)
        longest_reason = max(cell_len(row["reason"]) for row in ({"reason": "reason"}, *rows))
        items_width = min(items_width, max(rest - longest_reason, rest // 2))

    def line(row: Mapping[str, str], style: str) -> Text:
        start = f"{row['orderId']:<{widths['orderId']}}{gap}"
        status = f"{row['status']:<{widths['status']}}"
        text = Text.assemble(start, (status, style), gap, f"{row['total']:>{widths['total']}}")
        if is_wide:
            items = Text(row["items"])
            items.truncate(items_width, overflow="ellipsis", pad=True)
            text.append(_GAP).append_text(items).append(f"{_GAP}{row['reason']}")
            text.rstrip()
            _clip(text, width)
        return text

    heading = line({**_HEADINGS, "items": "items", "reason": "reason"}, "")
    heading.stylize("dim")
    yield heading
    for row in rows:
        yield line(row, STATUS_STYLES[row["status"]])
        if not is_wide:
            # The reason comes first: the end is what is clipped.
            about = Text(_INDENT + " ".join(filter(None, (row["reason"], row["items"]))))
            _clip(about, width)
            yield about


def _words(order: Mapping[str, Any]) -> dict[str, str]:
    return {
        "orderId": order["orderId"],
        "status": order["status"],
        "total": money.as_text(order["totalAmount"], order["currency"]),
        "items": ", ".join(f"{item['quantity']} x {item['name']}" for item in order["items"]),
        "reason": (order["reason"] or {}).get("message", ""),
    }


def _clip(text: Text, width: int | None) -> None:
    if width is not None:
        text.truncate(width, overflow="ellipsis")
