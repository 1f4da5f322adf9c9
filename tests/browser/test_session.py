"""The console's users and their tokens."""

import json
from datetime import timedelta

from playwright.sync_api import Route, expect

from local.console import data
from local.stack import USERS, Stack
from local.tokens import TokenIssuer
from tests.browser.conftest import OpenConsole
from tests.support.console_page import ConsolePage


def sign_in_with(console: ConsolePage, session: bytes) -> None:
    """Reload the page with the tokens of another time. The next request for tokens goes to the stack."""
    console.page.route("**/session.json", lambda route: route.fulfill(body=session), times=1)
    console.reload()


def test_console_left_open_over_a_restart_gets_new_tokens(open_console: OpenConsole, product: str) -> None:
    console = open_console(expects=(401,))
    restarted = console.page.locator("#restarted")
    expect(restarted).to_be_hidden()

    sign_in_with(console, data.session(TokenIssuer.generate(), USERS))

    expect(restarted).to_be_visible()
    console.place_order(product)
    console.pay_button.click()
    expect(console.status).to_have_text("confirmed")
    expect(console.page.locator("#catalogue-problem")).to_be_empty()


def test_console_left_open_for_a_day_gets_new_tokens(open_console: OpenConsole, stack: Stack, product: str) -> None:
    console = open_console(expects=(401,))
    session = json.loads(data.session(stack.identity, USERS))
    for user in session["users"]:
        user["token"] = stack.identity.token(user["sub"], user["roles"], expires_in=timedelta(hours=-1))

    sign_in_with(console, json.dumps(session).encode())

    console.place_order(product)
    expect(console.page.locator("#restarted")).to_be_hidden()


def test_console_waits_until_a_user_is_signed_in(open_console: OpenConsole) -> None:
    console = open_console()
    held: list[Route] = []
    console.page.route("**/session.json", lambda route: held.append(route), times=1)
    with console.page.expect_request("**/session.json"):
        console.page.reload()

    console.search.click(force=True)
    console.page.keyboard.type("green tea")

    expect(console.search).to_have_value("")
    held[0].continue_()
    # Not an id, which the page would read.
    console.search.fill("green tea")
    expect(console.search).to_have_value("green tea")
