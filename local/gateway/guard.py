"""Protection of this machine's ports from web pages.

Any web page can send requests to any port of 127.0.0.1. Three headers identify a browser, and a page cannot set or omit
them: `Origin`, `Sec-Fetch-Site`, and `Host`, which is foreign if the page's domain resolves to this machine (DNS
rebinding). `Sec-Fetch-Site: none` does not prove that the user typed the address: a link from outside the browser keeps
it when a page redirects. A browser omits the first two in some requests to untrustworthy names such as 0.0.0.0, so
`Host` must be on a list. Browsers that never send `Sec-Fetch-Site` are recognized by `User-Agent`.
https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site
"""

import hmac
from collections.abc import Collection, Iterable

from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, Scope

Headers = Iterable[tuple[bytes, bytes]]

LOOPBACK_HOSTS = frozenset({b"127.0.0.1", b"localhost", b"[::1]"})
CONTAINERS_HOSTS = frozenset({b"host.docker.internal", b"host.containers.internal"})
"""Names of this machine in containers."""

KEY_HEADER = b"x-local-stack-key"
"""Header that admits a request from any origin."""

_OWN_SITES = frozenset({b"same-origin", b"none"})
_REFUSAL = b"Requests from web pages are refused. Call this port from a program, as 127.0.0.1 or localhost.\n"


def is_from_here(headers: Headers) -> bool:
    """Return whether the request came from a program, or from a page on the host it is sent to.

    The port may differ, because a forwarded port has another number.
    """
    host, sites, origins = _sender(headers)
    own_origins = {b"http://" + host, b"https://" + host}
    return _strip_port(host) in LOOPBACK_HOSTS and _OWN_SITES.issuperset(sites) and own_origins.issuperset(origins)


def is_from_a_program(headers: Headers, hosts: Collection[bytes]) -> bool:
    """Return whether the request came from a program and names one of `hosts` or a subdomain of `localhost`."""
    headers = list(headers)
    host, sites, origins = _sender(headers)
    name = _strip_port(host)
    agents = [value for header, value in headers if header.lower() == b"user-agent"]
    is_browser = bool(sites or origins) or any(agent.startswith(b"Mozilla/") for agent in agents)
    return (name in hosts or name.endswith(b".localhost")) and not is_browser


class ProgramsOnly:
    """ASGI middleware that admits requests from programs, and requests with the key.

    The proxy sends the key, because its clients may be web pages. The application does not receive it.
    """

    def __init__(self, application: ASGIFramework, key: str) -> None:
        self._application = application
        self._key = key.encode()

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] in ("http", "websocket"):
            headers: list[tuple[bytes, bytes]] = list(scope["headers"])
            has_key = any(
                name.lower() == KEY_HEADER and hmac.compare_digest(value, self._key) for name, value in headers
            )
            if not has_key and not is_from_a_program(headers, LOOPBACK_HOSTS):
                await _refuse(scope, send)
                return
            scope["headers"] = [(name, value) for name, value in headers if name.lower() != KEY_HEADER]
        await self._application(scope, receive, send)


async def _refuse(scope: Scope, send: ASGISendCallable) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": None})
        return
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(_REFUSAL)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": _REFUSAL, "more_body": False})


def _sender(headers: Headers) -> tuple[bytes, list[bytes], list[bytes]]:
    """Return the host and all values of `Sec-Fetch-Site` and `Origin`, in lower case. A repeated host is empty."""
    named = [(name.lower(), value.lower()) for name, value in headers]
    hosts = [value for name, value in named if name == b"host"]
    sites = [value for name, value in named if name == b"sec-fetch-site"]
    origins = [value for name, value in named if name == b"origin"]
    return hosts[0] if len(hosts) == 1 else b"", sites, origins


def _strip_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() else host
