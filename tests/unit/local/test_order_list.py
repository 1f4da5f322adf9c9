"""The list of orders on terminals of several widths, and without a terminal."""

from typing import Any

import pytest
from rich.cells import cell_len

from local.shop.order_list import format_orders

WIDTHS = (60, 80, 99, 100, 120)


def order(number: int = 1, *, status: str = "pending", name: str = "Green tea", reason: str = "") -> dict[str, Any]:
    return {
        "orderId": f"ord_{number:032x}",
        "status": status,
        "totalAmount": 1250 * number,
        "currency": "usd",
        "items": [{"productId": "tea", "name": name, "quantity": 2, "unitPrice": 625}],
        "reason": {"code": "card_declined", "declineCode": None, "message": reason} if reason else None,
    }


MANY = [
    order(1),
    order(2, status="confirmed", name="Espresso cup, stoneware, in a blue glaze that is ours alone"),
    order(300, status="cancelled", name="Long " * 40, reason="Your card was declined."),
    order(4, name="[/b] \u7dd1\u8336"),
]


def format_plain(orders: list[dict[str, Any]], width: int | None) -> list[str]:
    return [line.plain for line in format_orders(orders, width)]


def test_total_has_stripes_decimals() -> None:
    [_, line] = format_plain([{**order(), "totalAmount": 5000, "currency": "ugx"}], None)

    assert line.split()[2:4] == ["50.00", "UGX"]


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(cell_len, format_plain(MANY, width))) <= width


@pytest.mark.parametrize("width", [*WIDTHS, None])
def test_id_status_and_total_are_never_truncated(width: int | None) -> None:
    found = [line.split() for line in format_plain(MANY, width) if line.startswith("ord_")]

    assert [words[:4] for words in found] == [
        [MANY[0]["orderId"], "pending", "12.50", "USD"],
        [MANY[1]["orderId"], "confirmed", "25.00", "USD"],
        [MANY[2]["orderId"], "cancelled", "3,750.00", "USD"],
        [MANY[3]["orderId"], "pending", "50.00", "USD"],
    ]


@pytest.mark.parametrize("width", [40, 60])
def test_total_that_does_not_fit_wraps_to_the_next_line(width: int) -> None:
    huge = {**order(), "totalAmount": 99_999_999_00}

    assert format_plain([huge], width)[1].endswith("pending 99,999,999.00 USD")


def test_order_is_one_line_on_a_wide_terminal() -> None:
    heading, first, *_ = format_plain(MANY, 120)

    assert heading.split() == ["order", "status", "total", "reason", "and", "items"]
    assert "2 x Green tea" in first
    assert len(format_plain(MANY, 120)) == 1 + len(MANY)


def test_items_have_their_own_line_on_a_narrow_terminal() -> None:
    heading, line, items, *_ = format_plain(MANY, 60)

    assert heading.split() == ["order", "status", "total"]
    assert (line.split()[0], items) == (MANY[0]["orderId"], "  2 x Green tea")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_reason_is_visible_beside_many_items(width: int) -> None:
    assert any("Your card was declined." in line for line in format_plain(MANY, width))


def test_truncated_text_ends_with_an_ellipsis() -> None:
    assert format_plain(MANY, 60)[6].endswith("…")


def test_order_is_one_full_line_without_a_terminal() -> None:
    written = format_plain(MANY, None)

    assert len(written) == 1 + len(MANY)
    assert written[3].endswith("Your card was declined. 2 x " + "Long " * 40)
