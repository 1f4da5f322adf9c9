"""Page object of the checkout console."""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Request, Route, expect

_REFUSED = re.compile(r"Failed to load resource: the server responded with a status of (\d+)")

_FIND_OVERFLOW = """
() => {
  const { scrollWidth, clientWidth } = document.documentElement;
  if (scrollWidth <= clientWidth) return [];
  return [...document.body.querySelectorAll("*")]
    .filter((element) => element.getBoundingClientRect().right > clientWidth)
    .map((element) => element.outerHTML.slice(0, 200));
}
"""


class ConsolePage:
    """A browser tab with the console, and the errors that the browser logged."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.page: Page = context.new_page()
        self.browser_errors: list[str] = []
        self.error_statuses: set[int] = set()
        self.payments: list[Request] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.browser_errors.append(str(error)))
        self.page.on("request", self._on_request)
        self.page.goto(url)
        self._wait_for_session()

    @property
    def status(self) -> Locator:
        """The shown order's status."""
        return self.page.locator("#order-facts .chip")

    @property
    def problem(self) -> Locator:
        """The shown order's error message."""
        return self.page.locator("#order-problem").get_by_role("alert")

    @property
    def pay_button(self) -> Locator:
        """The button that pays."""
        return self.page.locator("#pay-button")

    @property
    def steps(self) -> Locator:
        """The shown order's steps."""
        return self.page.locator("#steps li")

    @property
    def search(self) -> Locator:
        """The product search field."""
        return self.page.get_by_label("Find", exact=True)

    @property
    def products(self) -> Locator:
        """The rows of the catalogue."""
        return self.page.locator("#catalogue tbody tr")

    @property
    def catalogue_note(self) -> Locator:
        """The note that says which part of the catalogue is shown."""
        return self.page.locator("#catalogue-note")

    @property
    def more_products(self) -> Locator:
        """The button that loads more products."""
        return self.page.locator("#more-products")

    @property
    def open_calls(self) -> Locator:
        """The expanded calls."""
        return self.page.locator("#calls details[open]")

    @property
    def ledger_rows(self) -> Locator:
        """The rows of the ledger."""
        return self.page.locator("#ledger tbody tr")

    @property
    def order_id(self) -> str:
        """The shown order's id."""
        return self.page.locator("#order-facts code").first.inner_text()

    def reload(self) -> None:
        """Reload the page and wait until a user is signed in."""
        self.page.reload()
        self._wait_for_session()

    def _wait_for_session(self) -> None:
        expect(self.page.get_by_role("radio", name="Buyer", exact=True)).to_be_attached()

    def sign_in(self, name: str) -> None:
        """Switch to another user."""
        self.page.get_by_role("radio", name=name, exact=True).check(force=True)

    def stock_of(self, product: str) -> Locator:
        """Return the cells with a product's stock, reserved and available units."""
        return self.page.get_by_role("row", name=product).locator(".number")

    def find(self, product: str) -> None:
        """Search for the product: other tests fill the catalogue, so the first page may not have it."""
        self.search.fill(product)
        expect(self.stock_of(product).first).to_be_visible()

    def add(self, product: str) -> None:
        """Find the product and add it to the basket."""
        self.find(product)
        self.page.get_by_role("button", name=f"Add {product}", exact=True).click()

    def quantity_of(self, product: str) -> Locator:
        """Return the quantity field of a product in the basket."""
        return self.page.get_by_label(f"Quantity of {product}")

    def show_catalogue(self, count: int) -> None:
        """Reload the page with a catalogue of `count` products, served by the test."""

        def answer(route: Route) -> None:
            query = parse_qs(urlsplit(route.request.url).query)
            first, limit = int(query.get("cursor", ["0"])[0]), int(query["limit"][0])
            end = min(first + limit, count)
            found = [
                {"productId": f"item-{number:05}", "name": f"Item {number:05}", "unitPrice": 100, "currency": "usd"}
                | {"stock": 5, "reserved": 0, "available": 5}
                for number in range(first, end)
            ]
            route.fulfill(json={"products": found, "cursor": str(end) if end < count else None})

        self.page.route("**/v1/products?*", answer)
        self.reload()

    def edit(self, product: str) -> None:
        """Find the product and open its edit forms, as an admin."""
        self.find(product)
        self.page.get_by_role("button", name=f"Edit {product}", exact=True).click()
        expect(self.page.get_by_label("Units to add")).to_be_visible()

    def place_order(self, product: str, quantity: int = 1) -> str:
        """Order a product and return the order's id."""
        self.add(product)
        self.quantity_of(product).fill(str(quantity))
        with self.page.expect_response(lambda answer: answer.url.endswith("/v1/orders")) as placed:
            self.page.get_by_role("button", name="Place order").click()
        order_id: str = placed.value.json()["orderId"]
        # An order that was shown before may also be pending.
        expect(self.page.locator("#order-facts code").first).to_have_text(order_id)
        expect(self.status).to_have_text("pending")
        return order_id

    def choose_card(self, card: str) -> None:
        """Choose the payment method by its id."""
        self.page.get_by_label("Pay with").select_option(card)

    def open_order(self, order_id: str) -> None:
        """Open an order by its id."""
        self.page.get_by_label("Id of another order to open").fill(order_id)
        self.page.get_by_role("button", name="Open", exact=True).click()

    def ledger_row(self, order_id: str) -> Locator:
        """Return the ledger row of an order."""
        return self.page.locator(f"#ledger tbody tr[data-key='{order_id}']")

    def newest_call(self) -> Locator:
        """Return the entry of the newest call."""
        return self.page.locator("#calls > li").first

    def find_overflow(self) -> list[str]:
        """Return the HTML of elements that extend beyond the window's right edge."""
        found: list[str] = self.page.evaluate(_FIND_OVERFLOW)
        return found

    def screenshot(self, path: Path) -> None:
        """Save a screenshot of the full page."""
        self.page.screenshot(path=path, full_page=True)

    def _on_console(self, message: ConsoleMessage) -> None:
        # Chromium logs each 4xx and 5xx response as an error, even one that the page expects and shows.
        if (matched := _REFUSED.match(message.text)) and "/v1/" in message.location["url"]:
            self.error_statuses.add(int(matched[1]))
        elif message.type in ("error", "warning"):
            self.browser_errors.append(f"{message.text} {message.location}")

    def _on_request(self, request: Request) -> None:
        if request.method == "POST" and request.url.endswith("/payment"):
            self.payments.append(request)
