"""The console's panel of API calls."""

import re

from playwright.sync_api import Route, expect

from tests.browser.conftest import OpenConsole


def test_polling_leaves_open_call_open(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    order = console.place_order(product)
    console.choose_card("pm_dummy_timeout_before_charge")
    with console.page.expect_response(re.compile(f"{order}/status$")):
        console.pay_button.click()

    expect(console.newest_call()).to_contain_text(f"POST /v1/orders/{order}/payment HTTP/1.1")
    expect(console.open_calls).to_have_count(1)
    expect(console.open_calls).to_contain_text("202 Accepted")


def test_polls_are_listed_on_request(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    order = console.place_order(product)
    console.choose_card("pm_dummy_timeout_before_charge")
    with console.page.expect_response(re.compile(f"{order}/status$")):
        console.pay_button.click()

    console.page.get_by_label("Show polling").check()

    polls = console.page.locator("#calls > li").filter(has_text=re.compile("GET.*/status"))
    expect(polls.first).to_be_visible()
    expect(console.open_calls).to_have_count(1)
    expect(console.open_calls).to_contain_text("202 Accepted")


def test_polls_do_not_push_out_user_calls(open_console: OpenConsole, product: str) -> None:
    console = open_console()
    order = console.place_order(product)

    def answer(route: Route) -> None:
        route.fulfill(json={"orders": [], "cursor": None})

    console.page.route("**/v1/orders?*", answer)
    console.page.evaluate(
        """async () => {
          const [{ call }, { user }] = await Promise.all([import("/console/api.js"), import("/console/session.js")]);
          const background = true;
          for (let poll = 0; poll < 300; poll += 1) await call("GET", "/orders?limit=1", user.value, { background });
        }"""
    )

    expect(console.open_calls).to_contain_text("POST /v1/orders HTTP/1.1")
    expect(console.open_calls).to_contain_text(order)
