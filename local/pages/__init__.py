"""The pages that the local stack serves beside the API, by their paths. None of them is deployed."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

_HERE = Path(__file__).parent
_PROJECT = _HERE.parent.parent
_SWAGGER_UI = "aws_lambda_powertools.event_handler.openapi.swagger_ui"


@dataclass(frozen=True, slots=True)
class Page:
    """What a path answers."""

    content_type: str
    body: bytes


def pages() -> Mapping[str, Page]:
    """All pages: at `/docs` Swagger UI, which Powertools carries, on the API's document."""
    assets = files(_SWAGGER_UI)
    docs = Page("text/html; charset=utf-8", (_HERE / "docs.html").read_bytes())
    return {
        "/docs": docs,
        "/docs/": docs,
        "/docs/openapi.json": Page("application/json", (_PROJECT / "docs" / "openapi.json").read_bytes()),
        "/docs/swagger-ui.css": Page("text/css", (assets / "swagger-ui.min.css").read_bytes()),
        "/docs/swagger-ui.js": Page("text/javascript", (assets / "swagger-ui-bundle.min.js").read_bytes()),
    }
