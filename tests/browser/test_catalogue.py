"""The console shows of a large catalogue what somebody wants to see, and reads no more than that."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Route, expect

from order_payments.domain.money import TABLE, as_number
from tests.browser.conftest import OpenConsole, id_of
from tests.support.console_page import ConsolePage
from tests.support.http_shop import HttpShop
from tests.support.shop import ADMIN

PARTS = 230
POLL_MS = 3_100


@pytest.fixture
def many_parts(shop: HttpShop) -> Iterator[list[str]]:
    """Ids of more products than the console reads at once."""
    ids = [f"part-{number:03}" for number in range(PARTS)]
    for number, product_id in enumerate(ids):
        shop.write_product(product_id, name=f"Spare part {number}", unitPrice=250, currency="usd", stock=5)
    yield ids
    for product_id in ids:
        shop.remove_product(product_id)


@pytest.fixture
def unread(many_parts: list[str], shop: HttpShop) -> str:
    """Name of a part that is not among the first hundred products."""
    last_page = shop.pages("products", ADMIN, limit=100)[-1]
    name: str = next(product["name"] for product in last_page if product["productId"] in many_parts)
    return name


def reads_of_products(console: ConsolePage) -> list[str]:
    """The addresses of the catalogue's pages that are read from now on."""
    reads: list[str] = []
    console.page.on("request", lambda request: reads.append(request.url) if "/v1/products" in request.url else None)
    return reads


def seen(console: ConsolePage, visibility: str) -> None:
    """Have the page believe that it is `visible` or `hidden`."""
    console.page.evaluate(
        """(state) => {
          Object.defineProperty(document, "visibilityState", { configurable: true, get: () => state });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        visibility,
    )


@pytest.mark.usefixtures("many_parts")
def test_a_catalogue_that_is_not_shown_whole_says_so(open_console: OpenConsole) -> None:
    console = open_console()

    expect(console.catalogue_note).to_have_text("Showing the first 100 products; there are more.")
    expect(console.products).to_have_count(100)


@pytest.mark.usefixtures("many_parts")
def test_more_products_are_shown_when_wanted_until_there_are_no_more(open_console: OpenConsole) -> None:
    console = open_console()
    expect(console.products).to_have_count(100)

    console.more_products.click()
    expect(console.products).to_have_count(200)
    while console.more_products.is_visible():
        shown = console.products.count()
        console.more_products.press("Enter")
        expect(console.products.nth(shown)).to_be_attached()

    assert console.products.count() >= PARTS
    expect(console.catalogue_note).to_be_empty()
    expect(console.page.locator("#product-list")).to_be_focused()


def test_a_search_finds_by_name_what_was_not_read_yet(open_console: OpenConsole, unread: str) -> None:
    console = open_console()

    console.search.fill(unread.upper())

    expect(console.page.get_by_role("button", name=f"Add {unread}", exact=True)).to_be_visible()


def test_a_search_that_is_faster_than_the_first_page_finds_what_is_behind_it(
    open_console: OpenConsole, unread: str
) -> None:
    console = open_console()
    first: list[Route] = []

    def hold(route: Route) -> None:
        first.append(route)

    console.page.route("**/v1/products?*", hold, times=1)
    console.reload()
    console.search.fill(unread)
    console.page.wait_for_timeout(500)
    expect(console.catalogue_note).to_be_empty()

    first[0].continue_()

    expect(console.page.get_by_role("button", name=f"Add {unread}", exact=True)).to_be_visible()


def test_a_search_finds_by_id(open_console: OpenConsole, product: str) -> None:
    console = open_console()

    console.search.fill(id_of(product))

    expect(console.products).to_have_count(1)
    expect(console.products).to_contain_text([product])
    expect(console.catalogue_note).to_have_text(re.compile(r"^1 found among \d+ products\.$"))


def test_a_search_that_finds_nothing_says_among_how_many(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    console.find(product)

    console.search.fill("no such thing")

    expect(console.catalogue_note).to_have_text(re.compile(r"^None found among \d+ products\.$"))
    expect(console.products).to_have_count(0)


def test_what_was_found_and_ordered_can_be_paid(open_console: OpenConsole, unread: str) -> None:
    console = open_console()
    console.place_order(unread)
    console.pay_button.click()
    expect(console.status).to_have_text("confirmed")
    expect(console.stock_of(unread)).to_have_text(["4", "0", "4"])


def test_the_basket_keeps_what_the_next_user_has_not_read(open_console: OpenConsole, unread: str) -> None:
    console = open_console()
    console.search.fill(unread)
    console.page.get_by_role("button", name=f"Add {unread}", exact=True).click()

    console.search.fill("")
    console.sign_in("Second buyer")

    expect(console.page.locator("#basket")).to_contain_text(unread)
    expect(console.page.locator("#basket-total")).to_have_text("$2.50")


def test_only_the_page_is_read_again_of_which_something_is_shown(open_console: OpenConsole, unread: str) -> None:
    console = open_console()
    console.page.clock.install()
    console.reload()
    console.search.fill(unread)
    console.page.clock.run_for(1_000)
    expect(console.page.get_by_role("button", name=f"Add {unread}", exact=True)).to_be_visible()
    reads = reads_of_products(console)

    poll_times(console, 3)

    assert len(set(reads)) == 1
    assert "cursor=" in reads[0]


@pytest.mark.usefixtures("many_parts")
def test_a_poll_reads_one_page_however_many_are_shown(open_console: OpenConsole) -> None:
    console = open_console()
    console.page.clock.install()
    console.reload()
    expect(console.products).to_have_count(100)
    console.more_products.click()
    expect(console.products).to_have_count(200)
    reads = reads_of_products(console)

    poll_times(console, 4)

    assert reads[0] == reads[2] != reads[1] == reads[3]


def test_nothing_is_read_while_nobody_looks(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    console.page.clock.install()
    console.reload()
    console.find(product)
    seen(console, "hidden")
    console.page.wait_for_load_state("networkidle")
    asked: list[str] = []
    console.page.on("request", lambda request: asked.append(request.url))

    for _ in range(4):
        console.page.clock.run_for(POLL_MS)

    assert asked == []


def test_who_looks_again_sees_what_has_happened(open_console: OpenConsole, shop: HttpShop, product: str) -> None:
    console = open_console()
    console.find(product)
    expect(console.stock_of(product)).to_have_text(["10", "0", "10"])
    seen(console, "hidden")
    shop.add_product(product_id=id_of(product), name=product, stock=7)

    seen(console, "visible")

    expect(console.stock_of(product)).to_have_text(["7", "0", "7"])


def test_why_a_stock_was_refused_stays_told(open_console: OpenConsole, shop: HttpShop, product: str) -> None:
    shop.pay(shop.order((id_of(product), 3)), "pm_dummy_timeout_before_charge")
    console = open_console(user="Admin", expects=(409,))
    console.page.clock.install()
    console.reload()
    console.edit(product)
    console.page.get_by_label("Units to add").fill("-8")
    console.page.get_by_role("button", name="Change stock").click()
    refusal = console.page.locator("#stock-problem")
    expect(refusal).to_contain_text("stock_below_reserved")

    poll_times(console, 2)

    expect(refusal).to_contain_text("stock_below_reserved")


def poll_times(console: ConsolePage, times: int) -> None:
    """Let the time of so many polls pass; each reads the catalogue."""
    for _ in range(times):
        with console.page.expect_response(re.compile("/v1/products")) as response:
            console.page.clock.run_for(POLL_MS)
        response.value.finished()


def test_prices_have_the_decimals_that_the_command_line_shows(open_console: OpenConsole) -> None:
    shown = open_console().page.evaluate(
        """async (currencies) => {
          const { money } = await import("/console/format.js");
          return currencies.map((currency) => [currency, money(1234560, currency)]);
        }""",
        sorted(TABLE),
    )

    for currency, price in shown:
        assert price.endswith(as_number(1_234_560, currency)), price
