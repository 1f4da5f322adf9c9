"""Accessibility of the console: keyboard, contrast, names, small and large screens, light and dark scheme."""

import pytest
from playwright.sync_api import ViewportSize, expect

from tests.browser.conftest import OpenConsole, put_product
from tests.support.http_shop import HttpShop

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True}

# The share of the window, below the header, that panels cover.
MEASURE_COVERED_SHARE = """
() => {
  const top = document.querySelector("main").getBoundingClientRect().top;
  const areas = [...document.querySelectorAll(".panel")].map((panel) => {
    const box = panel.getBoundingClientRect();
    return box.width * Math.max(0, Math.min(box.bottom, innerHeight) - box.top);
  });
  return areas.reduce((sum, area) => sum + area, 0) / (innerWidth * (innerHeight - top));
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "card", ["pm_card_visa", "pm_card_chargeDeclinedExpiredCard", "pm_dummy_timeout_before_charge"]
)
def test_text_has_enough_contrast(open_console: OpenConsole, product: str, scheme: str, card: str) -> None:
    declined = card == "pm_card_chargeDeclinedExpiredCard"
    console = open_console(color_scheme=scheme, expects=(402,) if declined else ())
    assert console.find_low_contrast() == []
    console.place_order(product)
    assert console.find_low_contrast() == []
    console.choose_card(card)
    console.pay_button.click()
    expect(console.steps.last).to_contain_text("Response")
    assert console.find_low_contrast() == []
    console.sign_in("Admin")
    assert console.find_low_contrast() == []


def test_order_is_placed_and_paid_by_keyboard(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    keyboard = console.page.keyboard
    console.tab_to("#product-search")
    keyboard.type(product)
    expect(console.stock_of(product)).to_have_count(3)
    console.tab_to(f"button[aria-label='Add {product}']")
    keyboard.press("Enter")
    console.tab_to("#place-order")
    keyboard.press("Enter")
    expect(console.page.locator("#order-heading")).to_be_focused()
    console.tab_to("#card")
    keyboard.type("Mastercard deb")
    expect(console.page.locator("#card-token")).to_have_text("pm_card_mastercard_debit")
    console.tab_to("#pay-button")
    keyboard.press("Enter")

    expect(console.status).to_have_text("confirmed")
    expect(console.page.get_by_role("status")).to_have_text("The order is confirmed.")
    expect(console.pay_button).to_be_focused()


def test_every_control_has_an_accessible_name(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    console.place_order(product)
    assert console.find_unnamed_controls() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_console_fits_a_phone(open_console: OpenConsole, product: str, scheme: str) -> None:
    console = open_console(color_scheme=scheme, expects=(402,), **PHONE)
    console.place_order(product, 2)
    assert console.find_overflow() == []
    console.choose_card("pm_card_visa_chargeDeclinedVelocityLimitExceeded")
    console.pay_button.tap()
    expect(console.status).to_have_text("cancelled")
    assert console.find_overflow() == []


@pytest.mark.parametrize(("scheme", "classes"), [("light", ""), ("dark", "dark-mode")])
def test_api_reference_follows_the_scheme_and_leads_back(open_console: OpenConsole, scheme: str, classes: str) -> None:
    page = open_console(color_scheme=scheme).page
    page.get_by_role("link", name="API reference").click()
    expect(page.locator("html")).to_have_class(classes)

    page.get_by_role("link", name="Back to the console").click()

    expect(page.get_by_role("heading", name="Checkout console")).to_be_visible()


def test_reduced_motion_stops_animations(open_console: OpenConsole, product: str) -> None:
    console = open_console(reduced_motion="reduce")
    console.place_order(product)
    console.choose_card("pm_dummy_slow")
    console.pay_button.click()
    expect(console.page.locator(".edge.flight").first).to_be_visible()
    assert console.page.evaluate("document.getAnimations().length") == 0
    expect(console.status).to_have_text("confirmed")


def test_text_is_never_rendered_as_markup(open_console: OpenConsole, shop: HttpShop) -> None:
    name = "<img src=x onerror=alert(1)> <b>bold</b>"
    put_product(shop, name, stock=1)
    console = open_console()
    order = console.place_order(name)
    expect(console.page.locator("#order-items")).to_contain_text(name)
    expect(console.ledger_row(order)).to_be_visible()
    assert console.page.locator("main img, main b").filter(has_not_text="POST").count() == 0


def test_console_sends_requests_only_to_the_stack(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    requested: list[str] = []
    console.page.on("request", lambda request: requested.append(request.url))
    console.reload()
    console.place_order(product)
    console.pay_button.click()
    expect(console.status).to_have_text("confirmed")
    own = console.page.evaluate("location.origin") + "/"
    assert [url for url in requested if not url.startswith(own)] == []
    local_only = {url.removeprefix(own) for url in requested if not url.startswith((own + "v1/", own + "console/"))}
    assert local_only == {"", "session.json", "stripe/ledger.json"}


@pytest.mark.parametrize("width", [320, 600, 970, 1024, 1100, 1280])
def test_console_is_no_wider_than_the_window(open_console: OpenConsole, product: str, width: int) -> None:
    console = open_console(viewport={"width": width, "height": 800}, expects=(402,))
    order = console.place_order(product)
    console.choose_card("pm_card_visa_chargeDeclinedVelocityLimitExceeded")
    console.pay_button.click()
    expect(console.ledger_row(order)).to_contain_text("card_velocity_exceeded")
    assert console.find_overflow() == []


@pytest.mark.parametrize("viewport", [{"width": 1366, "height": 768}, {"width": 1920, "height": 1080}])
def test_catalogue_basket_and_order_fill_the_first_screen(
    open_console: OpenConsole, product: str, viewport: ViewportSize
) -> None:
    console = open_console(viewport=viewport)
    expect(console.products.first).to_be_visible()
    assert console.page.evaluate(MEASURE_COVERED_SHARE) > 0.75
    console.add(product)
    expect(console.page.locator("#place-order")).to_be_in_viewport(ratio=1)

    console.place_order(product)

    expect(console.pay_button).to_be_in_viewport(ratio=1)
    expect(console.newest_call()).to_be_in_viewport()
    assert console.page.evaluate(MEASURE_COVERED_SHARE) > 0.75
