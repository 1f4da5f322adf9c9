"""What a path of the local stack answers, and to whom."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from local.gateway.guard import is_from_here

_SAME_ORIGIN = {"cross-origin-resource-policy": "same-origin"}
_REFUSAL = b'{"type":"about:blank","title":"Forbidden","status":403,"detail":"This is for the console\'s own page."}'


@dataclass(frozen=True, slots=True)
class WebPage:
    """A page, made anew at each request: what is changed on the disk shows when the page is loaded again.

    A private one is answered to the pages of this stack, and to programs on this machine, alone.
    """

    content_type: str
    body: Callable[[], bytes]
    headers: Mapping[str, str] = field(default_factory=dict)
    private: bool = False

    def answer(self, request_headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body for a request with these headers."""
        if self.private and not is_from_here(request_headers):
            return 403, _as_headers("application/problem+json", {"cache-control": "no-store"}), _REFUSAL
        own = {"cache-control": "no-store", **_SAME_ORIGIN} if self.private else {"cache-control": "no-cache"}
        return 200, _as_headers(self.content_type, {**own, **self.headers}), self.body()


def _as_headers(content_type: str, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    all_headers = {"content-type": content_type, "x-content-type-options": "nosniff", **headers}
    return [(name.encode(), value.encode()) for name, value in all_headers.items()]
