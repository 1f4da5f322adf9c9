"""Placing and paying orders on the console."""

import subprocess

from playwright.sync_api import Route, expect

from local.shop import stripe_events
from local.stack import USERS, Stack
from tests.browser.conftest import OpenConsole, id_of, put_product
from tests.support.http_shop import HttpShop
from tests.support.shop import Stock, User

BUYER = User(*USERS["buyer"])


def test_buyer_pays_order(open_console: OpenConsole, shop: HttpShop, product: str) -> None:
    console = open_console()
    order = console.place_order(product, 2)
    expect(console.page.get_by_role("img")).to_have_attribute("aria-label", "The order is pending: nothing held.")

    console.pay_button.click()

    expect(console.status).to_have_text("confirmed")
    expect(console.steps).to_have_count(4)
    expect(console.steps.locator(".took").first).to_contain_text("s")
    expect(console.page.get_by_role("img")).to_have_attribute("aria-label", "The order is confirmed: stock reduced.")
    expect(console.stock_of(product)).to_have_text(["8", "0", "8"])
    expect(console.ledger_row(order)).to_contain_text("$91.98")
    expect(console.ledger_row(order)).to_contain_text("succeeded")
    expect(console.newest_call()).to_contain_text("HTTP/1.1 200 OK")
    assert shop.stock(id_of(product)) == Stock(8, 0, 8)


def test_declined_card_cancels_order(open_console: OpenConsole, product: str) -> None:
    console = open_console(expects=(402,))
    order = console.place_order(product)
    console.choose_card("pm_card_visa_chargeDeclinedInsufficientFunds")

    console.pay_button.click()

    expect(console.status).to_have_text("cancelled")
    expect(console.problem).to_contain_text("payment_failed")
    expect(console.problem).to_contain_text("Your card has insufficient funds.")
    assert console.page.locator(".order").inner_text().count("Your card has insufficient funds.") == 1
    expect(console.page.locator("#order-facts")).to_contain_text("card_declined / insufficient_funds")
    expect(console.ledger_row(order)).to_contain_text("canceled")
    expect(console.stock_of(product)).to_have_text(["10", "0", "10"])


def test_order_above_stock_is_cancelled(open_console: OpenConsole, product: str) -> None:
    console = open_console(expects=(422,))
    console.find(product)
    console.page.get_by_role("button", name=f"Add {product}").click()
    console.page.get_by_label(f"Quantity of {product}").fill("11")
    expect(console.page.locator("#basket")).to_contain_text("Only 10 for sale")
    console.page.get_by_role("button", name="Place order").click()

    console.pay_button.click()

    expect(console.status).to_have_text("cancelled")
    expect(console.problem).to_contain_text("insufficient_stock")
    expect(console.stock_of(product)).to_have_text(["10", "0", "10"])


def test_double_click_sends_one_payment(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    console.place_order(product)

    console.pay_button.dblclick()

    expect(console.status).to_have_text("confirmed")
    assert len(console.payments) == 1
    expect(console.stock_of(product)).to_have_text(["9", "0", "9"])


def test_simultaneous_clicks_send_one_payment(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    console.place_order(product)

    console.pay_button.evaluate("button => { button.click(); button.click(); }")

    expect(console.status).to_have_text("confirmed")
    assert len(console.payments) == 1


def test_payment_is_replayed_only_with_the_same_key(open_console: OpenConsole, product: str) -> None:
    console = open_console(expects=(409,))
    console.place_order(product)
    console.pay_button.click()
    expect(console.status).to_have_text("confirmed")

    console.pay_button.click()
    expect(console.steps.last).to_contain_text("Response 200, replayed")
    console.page.get_by_role("button", name="New key").click()
    console.pay_button.click()

    expect(console.problem).to_contain_text("payment_already_attempted")
    keys = [request.headers["idempotency-key"] for request in console.payments]
    assert keys[0] == keys[1] != keys[2]
    expect(console.stock_of(product)).to_have_text(["9", "0", "9"])


def test_key_invalid_in_a_header_is_not_sent(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    console.place_order(product)

    key = console.page.get_by_label("Idempotency-Key")
    key.fill("ключ")
    console.pay_button.click()

    expect(console.page.locator("#payment-key:invalid")).to_be_focused()
    assert console.payments == []
    key.fill("a key of my own")
    console.pay_button.click()
    expect(console.status).to_have_text("confirmed")


def test_expired_token_is_refused(open_console: OpenConsole, product: str) -> None:
    console = open_console(expects=(401,))
    order = console.place_order(product)

    console.sign_in("Expired token")
    expect(console.page.locator("#catalogue-problem")).to_contain_text("unauthorized")
    console.pay_button.click()

    expect(console.problem).to_contain_text("The token has expired. Choose another user. unauthorized")
    expect(console.status).to_have_text("pending")
    console.sign_in("Buyer")
    expect(console.page.locator("#catalogue-problem")).to_be_empty()
    assert console.order_id == order


def test_other_users_cannot_pay_order(open_console: OpenConsole, product: str) -> None:
    console = open_console(expects=(403,))
    console.place_order(product)

    for user in ("Second buyer", "Seller", "Admin"):
        console.sign_in(user)
        expect(console.page.locator("#pay-note")).to_contain_text("403")
        console.pay_button.click()
        expect(console.problem).to_contain_text("forbidden")
        expect(console.steps.last).to_contain_text("Response 403")

    expect(console.status).to_have_text("pending")


def test_error_states_each_fact_once(open_console: OpenConsole, product: str) -> None:
    console = open_console(expects=(403,))
    console.place_order(product)
    console.sign_in("Seller")
    console.pay_button.click()
    expect(console.problem).to_contain_text("forbidden")
    assert console.problem.inner_text().lower().count("forbidden") == 1


def test_errors_of_a_user_are_cleared_for_the_next(open_console: OpenConsole, product: str) -> None:
    console = open_console(expects=(403,))
    console.place_order(product)
    console.sign_in("Seller")
    console.pay_button.click()
    console.add(product)
    console.page.get_by_role("button", name="Place order").click()
    console.open_order("ord_unknown")
    errors = console.page.locator("main").get_by_role("alert")
    expect(errors).to_have_count(3)

    console.sign_in("Second buyer")

    expect(errors).to_have_count(0)


def test_error_of_the_last_order_is_cleared_by_the_next(open_console: OpenConsole, product: str) -> None:
    console = open_console(expects=(404,))
    console.open_order("ord_unknown")
    expect(console.page.locator("#open-problem")).to_contain_text("order_not_found")

    console.place_order(product)

    expect(console.page.locator("#open-problem")).to_be_empty()


def test_late_error_is_not_shown_to_the_next_user(open_console: OpenConsole, product: str) -> None:
    console = open_console(expects=(403,))
    console.place_order(product)
    console.sign_in("Seller")
    held: list[Route] = []
    console.page.route("**/payment", lambda route: held.append(route), times=1)
    with console.page.expect_request("**/payment"):
        console.pay_button.click()
    console.sign_in("Buyer")

    held[0].continue_()

    expect(console.steps.last).to_contain_text("Response 403")
    expect(console.problem).to_have_count(0)


def test_order_url_works_in_history_and_for_another_user(
    open_console: OpenConsole, shop: HttpShop, product: str
) -> None:
    console = open_console(expects=(403,))
    first, second = (shop.order((id_of(product), 1), user=BUYER) for _ in range(2))
    shown = console.page.locator("#order-facts code").first
    for order in (first, second):
        console.open_order(order)
        expect(shown).to_have_text(order)

    console.page.go_back()
    expect(shown).to_have_text(first)
    console.sign_in("Second buyer")
    console.reload()
    expect(console.page.locator("#open-problem")).to_contain_text("forbidden")
    console.sign_in("Admin")

    expect(shown).to_have_text(first)
    expect(console.page.locator("#open-problem")).to_be_empty()


def test_shop_leads_an_admin_to_the_office(open_console: OpenConsole, shop: HttpShop, product: str) -> None:
    order = shop.order((id_of(product), 1), user=BUYER)
    console = open_console()
    link = console.page.get_by_role("link", name="Open in the office")
    console.open_order(order)
    expect(console.status).to_have_text("pending")
    expect(link).to_be_hidden()
    console.sign_in("Admin")

    link.click()

    expect(console.page.get_by_role("heading", name="Office")).to_be_visible()
    expect(console.page.locator("#order-facts")).to_contain_text(order)


def test_two_buyers_race_for_last_unit(open_console: OpenConsole, shop: HttpShop, product: str) -> None:
    put_product(shop, product, stock=1)
    one, other = open_console(), open_console(user="Second buyer")
    for console in (one, other):
        console.place_order(product)

    # Both clicks happen before either response.
    for console in (one, other):
        console.pay_button.evaluate("button => setTimeout(() => button.click(), 50)")

    for console in (one, other):
        expect(console.status).not_to_have_text("pending")
    winner, loser = sorted((one, other), key=lambda console: console.status.inner_text(), reverse=True)
    expect(winner.status).to_have_text("confirmed")
    expect(loser.problem).to_contain_text("insufficient_stock")
    assert shop.stock(id_of(product)) == Stock(0, 0, 0)
    assert (winner.error_statuses, loser.error_statuses) == (set(), {422})
    loser.error_statuses.clear()


def test_console_waits_for_unknown_outcome(open_console: OpenConsole, stack: Stack, product: str) -> None:
    console = open_console()
    order = console.place_order(product)
    console.choose_card("pm_dummy_timeout_after_charge")

    console.pay_button.click()

    expect(console.page.locator("#waiting")).to_contain_text("Stripe did not report the outcome")
    expect(console.page.get_by_role("img")).to_have_attribute("aria-label", "The order is pending: outcome unknown.")
    expect(console.stock_of(product)).to_have_text(["10", "1", "9"])
    expect(console.ledger_row(order)).to_contain_text("charged, outcome not reported")
    stripe_events.send(stack.description(), order, stripe_events.SUCCEEDED)
    expect(console.status).to_have_text("confirmed")
    expect(console.page.locator("#waiting")).to_be_hidden()
    expect(console.stock_of(product)).to_have_text(["9", "0", "9"])


def test_other_tabs_and_admin_see_payment_in_flight(open_console: OpenConsole, product: str) -> None:
    payer, other_tab, admin = open_console(), open_console(), open_console(user="Admin")
    order = payer.place_order(product)
    payer.choose_card("pm_dummy_timeout_after_charge")
    payer.pay_button.click()
    expect(payer.page.locator("#waiting")).to_be_visible()

    for console in (other_tab, admin):
        console.open_order(order)
        expect(console.page.get_by_role("img")).to_have_attribute(
            "aria-label", "The order is pending: outcome unknown."
        )
    expect(other_tab.page.locator("#pay-note")).to_contain_text("in flight")
    expect(other_tab.pay_button).to_contain_text("Try to pay again")


def test_copied_curl_command_runs(open_console: OpenConsole, product: str) -> None:
    console = open_console(permissions=["clipboard-read", "clipboard-write"])
    console.place_order(product)
    console.page.get_by_role("button", name="Copy as curl").click()
    expect(console.page.get_by_role("button", name="Copied", exact=True)).to_be_visible()
    command = console.page.evaluate("navigator.clipboard.readText()")

    answer = subprocess.run(["sh"], input=command, capture_output=True, text=True, check=True).stdout

    assert answer.startswith("HTTP/1.1 201")
    assert f'"orderId":"{console.order_id}"' in answer
    assert "idempotent-replayed: true" in answer.lower()
