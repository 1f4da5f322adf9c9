"""Orders as lines, on terminals of several widths and on none."""

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
    order(2, status="confirmed", name="Espresso cup, stoneware, of a blue that nobody else has"),
    order(300, status="cancelled", name="Long " * 40, reason="Your card was declined."),
    order(4, name="[/b] \u7dd1\u8336"),
]


def shown(orders: list[dict[str, Any]], width: int | None) -> list[str]:
    return [line.plain for line in format_orders(orders, width)]


def test_total_has_the_decimals_that_stripe_counts() -> None:
    [_, line] = shown([{**order(), "totalAmount": 5000, "currency": "ugx"}], None)

    assert line.split()[2:4] == ["50.00", "UGX"]


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(cell_len, shown(MANY, width))) <= width


@pytest.mark.parametrize("width", [*WIDTHS, None])
def test_an_id_a_status_and_a_total_are_never_cut(width: int | None) -> None:
    found = [line.split() for line in shown(MANY, width) if line.startswith("ord_")]

    assert [words[:4] for words in found] == [
        [MANY[0]["orderId"], "pending", "12.50", "USD"],
        [MANY[1]["orderId"], "confirmed", "25.00", "USD"],
        [MANY[2]["orderId"], "cancelled", "3,750.00", "USD"],
        [MANY[3]["orderId"], "pending", "50.00", "USD"],
    ]


@pytest.mark.parametrize("width", [40, 60])
def test_a_total_that_does_not_fit_goes_on_in_the_next_line_of_the_terminal(width: int) -> None:
    huge = {**order(), "totalAmount": 99_999_999_00}

    assert shown([huge], width)[1].endswith("pending 99,999,999.00 USD")


def test_on_a_wide_terminal_an_order_is_one_line() -> None:
    heading, first, *_ = shown(MANY, 120)

    assert heading.split() == ["order", "status", "total", "reason", "and", "items"]
    assert "2 x Green tea" in first
    assert len(shown(MANY, 120)) == 1 + len(MANY)


def test_on_a_narrow_terminal_what_an_order_is_about_has_a_line_of_its_own() -> None:
    heading, line, about, *_ = shown(MANY, 60)

    assert heading.split() == ["order", "status", "total"]
    assert (line.split()[0], about) == (MANY[0]["orderId"], "  2 x Green tea")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_reason_is_seen_beside_many_items(width: int) -> None:
    assert any("Your card was declined." in line for line in shown(MANY, width))


def test_what_is_clipped_says_so() -> None:
    assert shown(MANY, 60)[6].endswith("…")


def test_without_a_terminal_nothing_is_clipped_and_an_order_is_one_line() -> None:
    written = shown(MANY, None)

    assert len(written) == 1 + len(MANY)
    assert written[3].endswith("Your card was declined. 2 x " + "Long " * 40)
