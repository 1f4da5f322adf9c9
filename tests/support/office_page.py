"""Page object of the office, the console's page for admins."""

from playwright.sync_api import Locator, expect

from tests.support.console_tab import ConsoleTab


class OfficePage(ConsoleTab):
    """A browser tab with the office: all orders and products, or one order."""

    @property
    def orders(self) -> Locator:
        """The rows of the listed orders."""
        return self.page.locator("#all-orders tbody tr")

    @property
    def orders_note(self) -> Locator:
        """The note that says how many orders are listed."""
        return self.page.locator("#orders-note")

    @property
    def status(self) -> Locator:
        """The shown order's status."""
        return self.page.locator("#order-facts .chip")

    @property
    def history(self) -> Locator:
        """The events of the shown order, oldest first."""
        return self.page.locator("#history li")

    @property
    def refunds(self) -> Locator:
        """The refunds of the shown order, oldest first."""
        return self.page.locator("#refunds li")

    @property
    def refund_button(self) -> Locator:
        """The button that refunds."""
        return self.page.locator("#refund-button")

    @property
    def refund_note(self) -> Locator:
        """The outcome of the refund."""
        return self.page.locator("#refund-note")

    @property
    def refund_problem(self) -> Locator:
        """The error message of the refund."""
        return self.page.locator("#refund-problem")

    def filter(self, label: str, value: str) -> None:
        """Fill in a field of the filter."""
        field = self.page.get_by_role("form", name="Filter the orders").get_by_label(label)
        if label == "Status":
            field.select_option(value)
        else:
            field.fill(value)

    def show(self) -> None:
        """Apply the filter."""
        self.page.get_by_role("button", name="Show", exact=True).click()

    def open_order(self, order_id: str) -> None:
        """Open an order's page."""
        self.page.goto(f"{self.page.url.split('?')[0]}?order={order_id}")

    def enter_refund(self, reason: str, *, amount: str = "", restock: dict[str, int] | None = None) -> None:
        """Fill in the refund form. `restock` maps names of products to units."""
        self.page.get_by_label("Amount in").fill(amount)
        self.page.get_by_label("Reason", exact=True).fill(reason)
        for name, units in (restock or {}).items():
            self.page.get_by_label(f"{name} (up to").fill(str(units))

    def edit(self, product: str) -> None:
        """Find the product and open its edit forms."""
        self.find(product)
        self.page.get_by_role("button", name=f"Edit {product}", exact=True).click()
        expect(self.page.get_by_label("Units to add")).to_be_visible()
