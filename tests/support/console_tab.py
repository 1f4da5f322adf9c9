"""Page object of what the console's pages have in common."""

import re
from pathlib import Path

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, expect

POLL_MS = 3_100
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

# Finds texts below the contrast of WCAG level AA: 4.5:1, or 3:1 for large text.
_FIND_LOW_CONTRAST = """
() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [red, green, blue] = channels(colour).slice(0, 3).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at.nodeName === "g" ? at.querySelector("rect") ?? at : at);
      const painted = at.nodeName === "g" && at.querySelector("rect") ? colour.fill : colour.backgroundColor;
      if ((channels(painted)[3] ?? 1) > 0) return painted;
    }
    return getComputedStyle(document.body).backgroundColor;
  };
  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const element = text.parentElement;
    if (!text.data.trim() || !element.checkVisibility() || element.closest("optgroup, option, noscript")) continue;
    const style = getComputedStyle(element);
    const colour = element.namespaceURI.endsWith("svg") ? style.fill : style.color;
    const [low, high] = [luminance(colour), luminance(behind(element))].sort((one, other) => one - other);
    const large = parseFloat(style.fontSize) >= 24;
    if ((high + 0.05) / (low + 0.05) < (large ? 3 : 4.5)) faint.push(`${text.data.trim()}: ${colour}`);
  }
  return faint;
}
"""
_FIND_UNNAMED_CONTROLS = """
() => [...document.querySelectorAll("button, input, select, textarea, [role=img], [role=region]")]
  .filter((element) => element.checkVisibility())
  .filter((element) => !(element.ariaLabel || element.getAttribute("aria-labelledby") || element.labels?.length
    || (element.nodeName === "BUTTON" && element.textContent.trim())))
  .map((element) => element.outerHTML)
"""


class ConsoleTab:
    """A browser tab with a page of the console, and the errors that the browser logged."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.page: Page = context.new_page()
        self.browser_errors: list[str] = []
        self.error_statuses: set[int] = set()
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.browser_errors.append(str(error)))
        self.page.goto(url)
        self._wait_for_session()

    @property
    def search(self) -> Locator:
        """The product search field."""
        return self.page.get_by_label("Find", exact=True)

    @property
    def products(self) -> Locator:
        """The rows of the catalogue."""
        return self.page.locator("#catalogue tbody tr")

    @property
    def open_calls(self) -> Locator:
        """The expanded calls."""
        return self.page.locator("#calls details[open]")

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

    def newest_call(self) -> Locator:
        """Return the entry of the newest call."""
        return self.page.locator("#calls > li").first

    def tab_to(self, selector: str) -> None:
        """Press Tab until the element has the focus."""
        target = self.page.locator(selector)
        for _ in range(2_000):
            if target.evaluate("element => element === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not reach {selector}")

    def find_overflow(self) -> list[str]:
        """Return the HTML of elements that extend beyond the window's right edge."""
        found: list[str] = self.page.evaluate(_FIND_OVERFLOW)
        return found

    def find_low_contrast(self) -> list[str]:
        """Return the texts whose contrast is too low."""
        found: list[str] = self.page.evaluate(_FIND_LOW_CONTRAST)
        return found

    def find_unnamed_controls(self) -> list[str]:
        """Return the HTML of controls without an accessible name."""
        found: list[str] = self.page.evaluate(_FIND_UNNAMED_CONTROLS)
        return found

    def poll(self, times: int, url: str) -> None:
        """Advance the page's clock by a number of polls. Each requests a URL that contains `url`."""
        for _ in range(times):
            with self.page.expect_response(re.compile(url)) as response:
                self.page.clock.run_for(POLL_MS)
            response.value.finished()

    def screenshot(self, path: Path) -> None:
        """Save a screenshot of the full page."""
        self.page.screenshot(path=path, full_page=True)

    def _on_console(self, message: ConsoleMessage) -> None:
        # Chromium logs each 4xx and 5xx response as an error, even one that the page expects and shows.
        if (matched := _REFUSED.match(message.text)) and "/v1/" in message.location["url"]:
            self.error_statuses.add(int(matched[1]))
        elif message.type in ("error", "warning"):
            self.browser_errors.append(f"{message.text} {message.location}")
