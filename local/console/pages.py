"""Web pages of the local stack, by path."""

import json
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from command_line.project import PROJECT
from local.console import data
from local.gateway.page import WebPage

_HERE = Path(__file__).parent
_WEB = _HERE / "web"
_INCLUDE = re.compile(rb"<!-- include ([a-z_]+\.html) -->")
_SWAGGER_UI = "aws_lambda_powertools.event_handler.openapi.swagger_ui"

_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
# Only the console's own files load, and no text of a product or an order becomes markup.
_CONSOLE_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
}


def build_pages(session: Callable[[], bytes], ledger: Callable[[], bytes]) -> Mapping[str, WebPage]:
    """Return all pages: the console at `/` and `/office`, and Swagger UI (from Powertools) at `/docs`."""
    assets = files(_SWAGGER_UI)
    docs = _file(_HERE / "docs.html")
    return {
        "/": _console_page("index.html"),
        "/office": _console_page("office.html"),
        **{f"/console/{path.name}": _file(path) for path in sorted(_WEB.iterdir()) if path.suffix != ".html"},
        "/console/currencies.js": WebPage(_CONTENT_TYPES[".js"], data.currencies),
        "/console/cards.json": WebPage(_CONTENT_TYPES[".json"], data.cards),
        "/session.json": WebPage("application/json", session, private=True),
        "/stripe/ledger.json": WebPage("application/json", ledger, private=True),
        "/docs": docs,
        "/docs/": docs,
        "/docs/openapi.json": WebPage(_CONTENT_TYPES[".json"], _openapi_of_this_stack),
        "/docs/swagger-ui.css": _file(assets / "swagger-ui.min.css"),
        "/docs/swagger-ui.js": _file(assets / "swagger-ui-bundle.min.js"),
    }


def _console_page(name: str) -> WebPage:
    """Return a page of the console. A file that pages share replaces each comment that includes it."""

    def read() -> bytes:
        return _INCLUDE.sub(lambda found: (_WEB / found[1].decode()).read_bytes(), (_WEB / name).read_bytes())

    return WebPage(_CONTENT_TYPES[".html"], read, _CONSOLE_HEADERS)


def _file(path: Path | Traversable) -> WebPage:
    return WebPage(_CONTENT_TYPES[Path(path.name).suffix], path.read_bytes)


def _openapi_of_this_stack() -> bytes:
    """Return the OpenAPI document with a relative address, so that Swagger UI calls this stack on any port."""
    document = json.loads((PROJECT / "docs" / "openapi.json").read_text())
    return json.dumps({**document, "servers": [{"url": "/v1"}]}).encode()
