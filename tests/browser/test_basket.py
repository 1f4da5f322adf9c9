"""The basket of the console: quantities, and its place on the screen."""

import pytest
from playwright.sync_api import ViewportSize, expect

from tests.browser.conftest import OpenConsole

# The text's width, compared with the width inside the padding, without the buttons that change the number.
MEASURE_FREE_WIDTH = """
(field) => {
  const style = getComputedStyle(field);
  const canvas = document.createElement("canvas").getContext("2d");
  canvas.font = style.font;
  const inside = field.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  return inside - 16 - canvas.measureText(field.value).width;
}
"""


@pytest.mark.parametrize(
    ("quantity", "message"),
    [("0", "greater"), ("-1", "greater"), ("1.5", "valid value"), ("", "fill out"), ("12000", "less")],
)
def test_invalid_quantity_is_refused_by_its_field(
    open_console: OpenConsole, product: str, quantity: str, message: str
) -> None:
    console = open_console()
    sent: list[str] = []
    console.page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    console.add(product)
    field = console.quantity_of(product)

    field.fill(quantity)
    console.page.get_by_role("button", name="Place order").click()

    expect(field).to_be_focused()
    assert message in field.evaluate("field => field.validationMessage")
    expect(field).to_have_value(quantity)
    expect(console.page.locator("#basket-total")).to_have_text("\N{EN DASH}")
    assert sent == []


def test_order_has_the_quantity_that_the_field_shows(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    console.place_order(product, 10_000)
    expect(console.page.locator("#order-items li")).to_contain_text("10000")


def test_add_after_invalid_quantity_starts_again(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    console.add(product)
    console.quantity_of(product).fill("")

    console.page.get_by_role("button", name=f"Add {product}", exact=True).click()

    expect(console.quantity_of(product)).to_have_value("1")


@pytest.mark.parametrize("width", [360, 1366])
def test_quantity_field_shows_five_digits(open_console: OpenConsole, product: str, width: int) -> None:
    console = open_console(viewport={"width": width, "height": 768})
    console.add(product)
    console.quantity_of(product).fill("10000")
    assert console.quantity_of(product).evaluate(MEASURE_FREE_WIDTH) >= 0


@pytest.mark.parametrize(
    "viewport", [{"width": 1366, "height": 768}, {"width": 768, "height": 1024}, {"width": 390, "height": 844}]
)
def test_basket_is_in_sight_after_add(open_console: OpenConsole, viewport: ViewportSize) -> None:
    console = open_console(viewport=viewport)
    console.show_catalogue(120)

    for name in ("Item 00000", "Item 00001", "Item 00002", "Item 00003", "Item 00004"):
        console.page.get_by_role("button", name=f"Add {name}", exact=True).click()

        expect(console.quantity_of(name)).to_be_in_viewport(ratio=1)
        expect(console.page.locator("#place-order")).to_be_in_viewport(ratio=1)


def test_admin_cannot_place_orders(open_console: OpenConsole, product: str) -> None:
    console = open_console(user="Admin", expects=(403,))
    console.add(product)
    console.page.locator("#place-order").click()
    expect(console.page.locator("#basket-problem")).to_contain_text("forbidden")


def test_reload_keeps_basket_and_order(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    order = console.place_order(product)
    console.add(product)
    console.quantity_of(product).fill("3")

    console.reload()

    expect(console.quantity_of(product)).to_have_value("3")
    expect(console.status).to_have_text("pending")
    assert console.order_id == order
