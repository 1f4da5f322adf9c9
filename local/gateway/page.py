"""Web pages of the local stack."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from local.gateway.guard import is_from_here

_SAME_ORIGIN = {"cross-origin-resource-policy": "same-origin"}
_REFUSAL = b'{"type":"about:blank","title":"Forbidden","status":403,"detail":"Only the console\'s page may read this."}'


@dataclass(frozen=True, slots=True)
class WebPage:
    """A page whose body is read at each request, so that a reload shows changed files.

    A private page is served only to this stack's pages and to programs on this machine.
    """

    content_type: str
    body: Callable[[], bytes]
    headers: Mapping[str, str] = field(default_factory=dict)
    private: bool = False

    def respond(self, request_headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Return status, headers and body for a request with these headers."""
        if self.private and not is_from_here(request_headers):
            return 403, _as_headers("application/problem+json", {"cache-control": "no-store"}), _REFUSAL
        own = {"cache-control": "no-store", **_SAME_ORIGIN} if self.private else {"cache-control": "no-cache"}
        return 200, _as_headers(self.content_type, {**own, **self.headers}), self.body()


def _as_headers(content_type: str, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    all_headers = {"content-type": content_type, "x-content-type-options": "nosniff", **headers}
    return [(name.encode(), value.encode()) for name, value in all_headers.items()]
