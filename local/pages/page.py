"""What a path of the local stack answers, and to whom."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

_LOOPBACK_HOSTS = frozenset({b"127.0.0.1", b"localhost", b"[::1]"})
_OWN_SITES = frozenset({b"same-origin", b"none"})
_SAME_ORIGIN = {"cross-origin-resource-policy": "same-origin"}
_REFUSAL = b'{"type":"about:blank","title":"Forbidden","status":403,"detail":"This is for the console\'s own page."}'


@dataclass(frozen=True, slots=True)
class Page:
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


def is_from_here(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request was not made for the page of another site.

    A site whose name was made to point here (DNS rebinding) is told by its name in `Host`. Another page, also one that
    another port of this machine serves, is told by `Sec-Fetch-Site` or, by a browser that does not send that, by
    `Origin`; no page can set either. Any port will do: behind a forwarded port this stack has another.
    """
    named = [(name.lower(), value.lower()) for name, value in headers]
    hosts = [value for name, value in named if name == b"host"]
    sites = [value for name, value in named if name == b"sec-fetch-site"]
    origins = [value for name, value in named if name == b"origin"]
    if len(hosts) != 1 or _without_port(hosts[0]) not in _LOOPBACK_HOSTS:
        return False
    return _OWN_SITES.issuperset(sites) and {b"http://" + hosts[0], b"https://" + hosts[0]}.issuperset(origins)


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() else host


def _as_headers(content_type: str, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    all_headers = {"content-type": content_type, "x-content-type-options": "nosniff", **headers}
    return [(name.encode(), value.encode()) for name, value in all_headers.items()]
