"""Fixtures of the browser tests: the console of the deployed stack in the installed Chromium."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from command_line.project import STATE
from local.stack import Stack
from tests.support.chromium import PROGRAMS, find_chromium
from tests.support.console_page import ConsolePage
from tests.support.http_shop import HttpShop
from tests.support.shop import ADMIN

SCREENSHOTS = STATE / "screenshots"
# The first call of a function starts it, which takes long on a busy machine.
TIMEOUT_MILLISECONDS = 30_000

OpenConsole = Callable[..., ConsolePage]


# Not session-scoped: Playwright runs an event loop in this thread, where other tests run their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip(f"needs one of {', '.join(PROGRAMS)}")
    expect.set_options(timeout=TIMEOUT_MILLISECONDS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program)
        yield running
        running.close()


@pytest.fixture
def shop(stack: Stack) -> Iterator[HttpShop]:
    with closing(HttpShop(stack)) as opened:
        yield opened


@pytest.fixture
def product(shop: HttpShop, request: pytest.FixtureRequest) -> str:
    """Create a product for this test alone, with a stock of ten, and return its name."""
    name = re.sub(r"[\W_]+", " ", request.node.name.removeprefix("test_")).strip().capitalize()
    put_product(shop, name, stock=10)
    return name


def put_product(shop: HttpShop, name: str, *, stock: int) -> None:
    body = {"name": name, "unitPrice": 4599, "currency": "usd", "stock": stock}
    assert shop.call("PUT", f"/admin/products/{id_of(name)}", ADMIN, body).status == 200


def id_of(product: str) -> str:
    """Return the id of the product with this name."""
    return re.sub(r"\W+", "-", product.lower()).strip("-")[:64]


@pytest.fixture
def open_console(stack: Stack, browser: Browser, request: pytest.FixtureRequest) -> Iterator[OpenConsole]:
    """Return a function that opens the console in a new browser context, with Playwright's context options.

    After the test, each console's screenshot is saved. The browser must have logged no errors, and exactly the HTTP
    error statuses in `expects`.
    """
    opened: list[tuple[ConsolePage, set[int]]] = []

    def open_one(*, user: str = "Buyer", expects: tuple[int, ...] = (), **options: Any) -> ConsolePage:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        context.set_default_timeout(TIMEOUT_MILLISECONDS)
        page = ConsolePage(context, stack.api_url.removesuffix("v1"))
        opened.append((page, set(expects)))
        if user != "Buyer":
            page.sign_in(user)
        return page

    yield open_one
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", request.node.name.removeprefix("test_")).strip("-")
    for number, (page, _) in enumerate(opened, start=1):
        page.screenshot(SCREENSHOTS / (f"{name}-{number}.png" if len(opened) > 1 else f"{name}.png"))
        page.page.context.close()
    for page, expected in opened:
        assert (page.browser_errors, page.error_statuses) == ([], expected)
