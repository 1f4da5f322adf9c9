"""Page object of the shop, the console's page for buyers."""

from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import BrowserContext, Locator, Request, Route, expect

from tests.support.console_tab import ConsoleTab


class ConsolePage(ConsoleTab):
    """A browser tab with the shop, and the payments that it sent."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        super().__init__(context, url)
        self.payments: list[Request] = []
        self.page.on("request", self._on_request)

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
    def catalogue_note(self) -> Locator:
        """The note that says which part of the catalogue is shown."""
        return self.page.locator("#catalogue-note")

    @property
    def more_products(self) -> Locator:
        """The button that loads more products."""
        return self.page.locator("#more-products")

    @property
    def ledger_rows(self) -> Locator:
        """The rows of the ledger."""
        return self.page.locator("#ledger tbody tr")

    @property
    def order_id(self) -> str:
        """The shown order's id."""
        return self.page.locator("#order-facts code").first.inner_text()

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

    def _on_request(self, request: Request) -> None:
        if request.method == "POST" and request.url.endswith("/payment"):
            self.payments.append(request)
