"""The console shows orders beside Stripe's ledger, the newest ones, until somebody wants more."""

import pytest
from playwright.sync_api import expect

from local.stack import USERS
from tests.browser.conftest import OpenConsole, id_of
from tests.support.http_shop import HttpShop
from tests.support.shop import User

BUYER = User(*USERS["buyer"])
AT_ONCE = 10
# Four lines, of which one may be broken, and what is between two orders.
HEIGHT_OF_AN_ORDER = 160


@pytest.fixture
def orders(shop: HttpShop, product: str) -> list[str]:
    """Orders of the console's buyer, the newest first: more than are shown at once."""
    return [shop.order((id_of(product), 1), user=BUYER) for _ in range(AT_ONCE + 2)][::-1]


def test_the_ledger_stays_short_on_a_phone(open_console: OpenConsole, orders: list[str]) -> None:
    console = open_console(viewport={"width": 360, "height": 740}, has_touch=True)

    expect(console.ledger_row(orders[AT_ONCE - 1])).to_be_visible()

    expect(console.ledger_rows).to_have_count(AT_ONCE)
    heights = console.ledger_rows.evaluate_all("rows => rows.map((row) => row.offsetHeight)")
    assert max(heights) <= HEIGHT_OF_AN_ORDER


@pytest.mark.usefixtures("orders")
def test_the_ledger_says_that_there_are_more_orders(open_console: OpenConsole) -> None:
    console = open_console()
    expect(console.page.locator("#ledger-note")).to_have_text(f"Showing the newest {AT_ONCE}; there are more.")


def test_more_orders_are_shown_when_wanted(open_console: OpenConsole, orders: list[str]) -> None:
    console = open_console()
    expect(console.ledger_row(orders[AT_ONCE - 1])).to_be_visible()
    expect(console.ledger_row(orders[AT_ONCE])).to_have_count(0)

    console.page.locator("#more-orders").press("Enter")

    expect(console.ledger_row(orders[AT_ONCE])).to_be_visible()
    expect(console.ledger_row(orders[AT_ONCE]).get_by_role("button")).to_be_focused()


def test_an_order_that_was_charged_and_waits_says_so(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    order = console.place_order(product)
    console.choose_card("pm_dummy_timeout_after_charge")
    console.pay_button.click()
    expect(console.ledger_row(order)).to_contain_text("charged, outcome not told")


def test_an_order_that_was_not_charged_and_waits_says_that_there_is_no_charge(
    open_console: OpenConsole, product: str
) -> None:
    console = open_console()
    order = console.place_order(product)
    console.choose_card("pm_dummy_api_error")
    console.pay_button.click()
    expect(console.page.locator("#waiting")).to_be_visible()
    expect(console.ledger_row(order)).to_contain_text("no charge")
