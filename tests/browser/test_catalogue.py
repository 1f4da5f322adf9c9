"""Paging, search and polling of a large catalogue on the console."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Route, expect

from order_payments.domain.money import TABLE, as_number
from tests.browser.conftest import OpenConsole, id_of
from tests.support.console_page import ConsolePage
from tests.support.console_tab import POLL_MS
from tests.support.http_shop import HttpShop
from tests.support.shop import ADMIN

PART_COUNT = 230


@pytest.fixture
def many_parts(shop: HttpShop) -> Iterator[list[str]]:
    """Create more products than the console reads at once, and return their ids."""
    ids = [f"part-{number:03}" for number in range(PART_COUNT)]
    for number, product_id in enumerate(ids):
        shop.write_product(product_id, name=f"Spare part {number}", unitPrice=250, currency="usd", stock=5)
    yield ids
    for product_id in ids:
        shop.remove_product(product_id)


@pytest.fixture
def unread_product(many_parts: list[str], shop: HttpShop) -> str:
    """Return the name of a product beyond the first page of 100."""
    last_page = shop.pages("products", ADMIN, limit=100)[-1]
    name: str = next(product["name"] for product in last_page if product["productId"] in many_parts)
    return name


def record_product_reads(console: ConsolePage) -> list[str]:
    """Return a list that collects the URLs of catalogue reads from now on."""
    reads: list[str] = []
    console.page.on("request", lambda request: reads.append(request.url) if "/v1/products" in request.url else None)
    return reads


def set_visibility(console: ConsolePage, visibility: str) -> None:
    """Simulate that the page becomes `visible` or `hidden`."""
    console.page.evaluate(
        """(state) => {
          Object.defineProperty(document, "visibilityState", { configurable: true, get: () => state });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        visibility,
    )


@pytest.mark.usefixtures("many_parts")
def test_partial_catalogue_notes_that_there_is_more(open_console: OpenConsole) -> None:
    console = open_console()

    expect(console.catalogue_note).to_have_text("Showing the first 100 products; there are more.")
    expect(console.products).to_have_count(100)


@pytest.mark.usefixtures("many_parts")
def test_button_shows_more_products_until_the_last(open_console: OpenConsole) -> None:
    console = open_console()
    expect(console.products).to_have_count(100)

    console.more_products.click()
    expect(console.products).to_have_count(200)
    while console.more_products.is_visible():
        shown = console.products.count()
        console.more_products.press("Enter")
        expect(console.products.nth(shown)).to_be_attached()

    assert console.products.count() >= PART_COUNT
    expect(console.catalogue_note).to_be_empty()
    expect(console.page.locator("#product-list")).to_be_focused()


def test_search_finds_unread_product_by_name(open_console: OpenConsole, unread_product: str) -> None:
    console = open_console()

    console.search.fill(unread_product.upper())

    expect(console.page.get_by_role("button", name=f"Add {unread_product}", exact=True)).to_be_visible()


def test_search_before_the_first_page_finds_later_product(open_console: OpenConsole, unread_product: str) -> None:
    console = open_console()
    first: list[Route] = []

    def hold(route: Route) -> None:
        first.append(route)

    console.page.route("**/v1/products?*", hold, times=1)
    console.reload()
    console.search.fill(unread_product)
    console.page.wait_for_timeout(500)
    expect(console.catalogue_note).to_be_empty()

    first[0].continue_()

    expect(console.page.get_by_role("button", name=f"Add {unread_product}", exact=True)).to_be_visible()


def test_search_finds_product_by_id(open_console: OpenConsole, product: str) -> None:
    console = open_console()

    console.search.fill(id_of(product))

    expect(console.products).to_have_count(1)
    expect(console.products).to_contain_text([product])
    expect(console.catalogue_note).to_have_text(re.compile(r"^1 found among [\d,]+ products\.$"))


def test_search_without_result_shows_products_searched(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    console.find(product)

    console.search.fill("no such thing")

    expect(console.catalogue_note).to_have_text(re.compile(r"^None found among [\d,]+ products\.$"))
    expect(console.products).to_have_count(0)


def test_search_by_id_reads_that_product_first(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    console.show_catalogue(2_000)
    expect(console.products).to_have_count(100)
    reads = record_product_reads(console)

    console.search.fill(id_of(product))

    expect(console.products).to_contain_text([product])
    expect(console.catalogue_note).to_have_text("1 found among 101 products; there are more.")
    assert any(url.endswith(f"/v1/products/{id_of(product)}") for url in reads)
    assert not any("cursor=" in url for url in reads)


def test_one_click_searches_the_whole_catalogue(open_console: OpenConsole) -> None:
    console = open_console()
    console.show_catalogue(2_000)
    console.search.fill("no such thing")
    expect(console.catalogue_note).to_have_text("None found among 1,100 products; there are more.")
    held: list[Route] = []
    console.page.route("**/v1/products?*cursor=1500", lambda route: held.append(route), times=1)

    with console.page.expect_request("**/v1/products?*cursor=1500"):
        console.more_products.click()

    expect(console.catalogue_note).to_have_text("Searching: None found among 1,500 products so far.")
    expect(console.more_products).to_have_text("Stop")
    held[0].fallback()
    expect(console.catalogue_note).to_have_text("None found among 2,000 products.")
    expect(console.more_products).to_be_hidden()


def test_search_of_the_whole_catalogue_can_be_stopped(open_console: OpenConsole) -> None:
    console = open_console()
    console.show_catalogue(2_000)
    console.search.fill("no such thing")
    expect(console.catalogue_note).to_have_text("None found among 1,100 products; there are more.")
    held: list[Route] = []
    console.page.route("**/v1/products?*cursor=1500", lambda route: held.append(route), times=1)
    with console.page.expect_request("**/v1/products?*cursor=1500"):
        console.more_products.click()
    expect(console.more_products).to_have_text("Stop")

    console.more_products.click()

    expect(console.more_products).to_have_text("Search all")
    expect(console.catalogue_note).to_have_text("None found among 1,500 products; there are more.")
    held[0].fallback()
    expect(console.catalogue_note).to_have_text("None found among 1,600 products; there are more.")


def test_cleared_search_shows_one_step_of_products(open_console: OpenConsole) -> None:
    console = open_console()
    console.show_catalogue(1_000)
    console.search.fill("no such thing")
    expect(console.catalogue_note).to_have_text("None found among 1,000 products.")

    console.search.fill("")

    expect(console.products).to_have_count(100)
    expect(console.catalogue_note).to_have_text("Showing the first 100 products; there are more.")


def test_found_product_can_be_ordered_and_paid(open_console: OpenConsole, unread_product: str) -> None:
    console = open_console()
    console.place_order(unread_product)
    console.pay_button.click()
    expect(console.status).to_have_text("confirmed")
    expect(console.stock_of(unread_product)).to_have_text(["4", "0", "4"])


def test_basket_survives_switching_users(open_console: OpenConsole, unread_product: str) -> None:
    console = open_console()
    console.search.fill(unread_product)
    console.page.get_by_role("button", name=f"Add {unread_product}", exact=True).click()

    console.search.fill("")
    console.sign_in("Second buyer")

    expect(console.page.locator("#basket")).to_contain_text(unread_product)
    expect(console.page.locator("#basket-total")).to_have_text("$2.50")


def test_poll_reads_only_pages_of_shown_products(open_console: OpenConsole, unread_product: str) -> None:
    console = open_console()
    console.page.clock.install()
    console.reload()
    console.search.fill(unread_product)
    console.page.clock.run_for(1_000)
    expect(console.page.get_by_role("button", name=f"Add {unread_product}", exact=True)).to_be_visible()
    reads = record_product_reads(console)

    console.poll(3, "/v1/products")

    assert len(set(reads)) == 1
    assert "cursor=" in reads[0]


@pytest.mark.usefixtures("many_parts")
def test_poll_reads_one_page_at_a_time(open_console: OpenConsole) -> None:
    console = open_console()
    console.page.clock.install()
    console.reload()
    expect(console.products).to_have_count(100)
    console.more_products.click()
    expect(console.products).to_have_count(200)
    reads = record_product_reads(console)

    console.poll(4, "/v1/products")

    assert reads[0] == reads[2] != reads[1] == reads[3]


def test_hidden_page_sends_no_requests(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    console.page.clock.install()
    console.reload()
    console.find(product)
    set_visibility(console, "hidden")
    console.page.wait_for_load_state("networkidle")
    requested: list[str] = []
    console.page.on("request", lambda request: requested.append(request.url))

    for _ in range(4):
        console.page.clock.run_for(POLL_MS)

    assert requested == []


def test_page_refreshes_when_visible_again(open_console: OpenConsole, shop: HttpShop, product: str) -> None:
    console = open_console()
    console.find(product)
    expect(console.stock_of(product)).to_have_text(["10", "0", "10"])
    set_visibility(console, "hidden")
    shop.add_product(product_id=id_of(product), name=product, stock=7)

    set_visibility(console, "visible")

    expect(console.stock_of(product)).to_have_text(["7", "0", "7"])


def test_prices_have_the_decimals_of_the_command_line(open_console: OpenConsole) -> None:
    shown = open_console().page.evaluate(
        """async (currencies) => {
          const { money } = await import("/console/format.js");
          return currencies.map((currency) => [currency, money(1234560, currency)]);
        }""",
        sorted(TABLE),
    )

    for currency, price in shown:
        assert price.endswith(as_number(1_234_560, currency)), price
