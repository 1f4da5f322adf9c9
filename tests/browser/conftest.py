"""Fixtures of the browser tests: the console of the deployed stack in the installed Chromium."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, TypeVar

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from command_line.project import STATE
from local.stack import Stack
from tests.support.chromium import PROGRAMS, find_chromium
from tests.support.console_page import ConsolePage
from tests.support.console_tab import ConsoleTab
from tests.support.http_shop import HttpShop
from tests.support.office_page import OfficePage
from tests.support.shop import ADMIN

SCREENSHOTS = STATE / "screenshots"
# The first call of a function starts it, which takes long on a busy machine.
TIMEOUT_MILLISECONDS = 30_000

OpenConsole = Callable[..., ConsolePage]
OpenOffice = Callable[..., OfficePage]
OpenTab = Callable[..., Any]
Tab = TypeVar("Tab", bound=ConsoleTab)


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
def open_tab(stack: Stack, browser: Browser, request: pytest.FixtureRequest) -> Iterator[OpenTab]:
    """Return a function that opens a page of the console in a new browser context, with Playwright's context options.

    After the test, each page's screenshot is saved. The browser must have logged no errors, and exactly the HTTP error
    statuses in `expects`.
    """
    opened: list[tuple[ConsoleTab, set[int]]] = []

    def open_one(kind: type[Tab], path: str, *, expects: tuple[int, ...] = (), **options: Any) -> Tab:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        context.set_default_timeout(TIMEOUT_MILLISECONDS)
        page = kind(context, stack.api_url.removesuffix("v1") + path)
        opened.append((page, set(expects)))
        return page

    yield open_one
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", request.node.name.removeprefix("test_")).strip("-")
    for number, (page, _) in enumerate(opened, start=1):
        page.screenshot(SCREENSHOTS / (f"{name}-{number}.png" if len(opened) > 1 else f"{name}.png"))
        page.page.context.close()
    for page, expected in opened:
        assert (page.browser_errors, page.error_statuses) == ([], expected)


@pytest.fixture
def open_console(open_tab: OpenTab) -> OpenConsole:
    """Return a function that opens the shop, with the options of `open_tab`."""

    def open_one(*, user: str = "Buyer", **options: Any) -> ConsolePage:
        page: ConsolePage = open_tab(ConsolePage, "", **options)
        if user != "Buyer":
            page.sign_in(user)
        return page

    return open_one


@pytest.fixture
def open_office(open_tab: OpenTab) -> OpenOffice:
    """Return a function that opens the office, or one order in it, with the options of `open_tab`."""

    def open_one(order: str | None = None, **options: Any) -> OfficePage:
        page: OfficePage = open_tab(OfficePage, "office" if order is None else f"office?order={order}", **options)
        return page

    return open_one
