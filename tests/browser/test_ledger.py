"""The console's list of orders beside Stripe's ledger."""

import pytest
from playwright.sync_api import expect

from local.stack import USERS
from tests.browser.conftest import OpenConsole, id_of
from tests.support.http_shop import HttpShop
from tests.support.shop import User

BUYER = User(*USERS["buyer"])
ORDERS_SHOWN = 10
# Four lines of cells with their headings, and the gap between two orders.
MAX_ROW_HEIGHT_PIXELS = 190


@pytest.fixture
def orders(shop: HttpShop, product: str) -> list[str]:
    """Place more orders than the console shows at first, and return their ids, newest first."""
    return [shop.order((id_of(product), 1), user=BUYER) for _ in range(ORDERS_SHOWN + 2)][::-1]


def test_ledger_stays_short_on_a_phone(open_console: OpenConsole, orders: list[str]) -> None:
    console = open_console(viewport={"width": 360, "height": 740}, has_touch=True)

    expect(console.ledger_row(orders[ORDERS_SHOWN - 1])).to_be_visible()

    expect(console.ledger_rows).to_have_count(ORDERS_SHOWN)
    heights = console.ledger_rows.evaluate_all("rows => rows.map((row) => row.offsetHeight)")
    assert max(heights) <= MAX_ROW_HEIGHT_PIXELS


@pytest.mark.usefixtures("orders")
def test_ledger_notes_that_there_are_more_orders(open_console: OpenConsole) -> None:
    console = open_console()
    expect(console.page.locator("#ledger-note")).to_have_text(f"Showing the newest {ORDERS_SHOWN}; there are more.")


def test_button_shows_more_orders(open_console: OpenConsole, orders: list[str]) -> None:
    console = open_console()
    expect(console.ledger_row(orders[ORDERS_SHOWN - 1])).to_be_visible()
    expect(console.ledger_row(orders[ORDERS_SHOWN])).to_have_count(0)

    console.page.locator("#more-orders").press("Enter")

    expect(console.ledger_row(orders[ORDERS_SHOWN])).to_be_visible()
    expect(console.ledger_row(orders[ORDERS_SHOWN]).get_by_role("button")).to_be_focused()


def test_ledger_shows_charge_with_unknown_outcome(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    order = console.place_order(product)
    console.choose_card("pm_dummy_timeout_after_charge")
    console.pay_button.click()
    expect(console.ledger_row(order)).to_contain_text("charged, outcome not reported")


def test_ledger_shows_no_charge_for_waiting_order(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    order = console.place_order(product)
    console.choose_card("pm_dummy_api_error")
    console.pay_button.click()
    expect(console.page.locator("#waiting")).to_be_visible()
    expect(console.ledger_row(order)).to_contain_text("no charge")


def test_ledger_names_orders_of_other_buyers(open_console: OpenConsole, shop: HttpShop, product: str) -> None:
    order = shop.order((id_of(product), 1), user=BUYER)
    shop.pay(order, user=BUYER)
    console = open_console(user="Second buyer")
    console.reload()
    expect(console.ledger_row(order).locator(".status")).to_have_text("another buyer\N{RIGHT SINGLE QUOTATION MARK}s")


@pytest.mark.parametrize("width", [390, 900])
def test_ledger_names_its_columns_on_a_small_screen(
    open_console: OpenConsole, shop: HttpShop, product: str, width: int
) -> None:
    order = shop.order((id_of(product), 1), user=BUYER)
    console = open_console(viewport={"width": width, "height": 800})
    cells = console.ledger_row(order).locator("> *")
    expect(cells.first).to_be_visible()
    headings = "cells => cells.map((cell) => JSON.parse(getComputedStyle(cell, '::before').content))"
    assert cells.evaluate_all(headings) == console.page.locator("#ledger thead th").all_text_contents()
