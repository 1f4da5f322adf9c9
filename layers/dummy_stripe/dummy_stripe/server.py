"""The dummy Stripe as an HTTP server on the loopback interface, for clients in any language.

    with serve() as url:
        client = stripe.StripeClient("sk_test_any", base_addresses={"api": url})

Each secret key has a state of its own. `control_calls` has the calls that only a test makes.
"""

from __future__ import annotations

import logging
import socket
import struct
import sys
import threading
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from dummy_stripe import control_calls, refusals
from dummy_stripe.accounts import Account, Accounts, Ending, Fault, FaultKind, ServedMemoryStore
from dummy_stripe.api import HTTPResponse, Operation, Request, StripeAPI, read_secret_key
from dummy_stripe.endpoints import RequestLost
from dummy_stripe.refusals import Refusal
from dummy_stripe.responses import SLOW_SECONDS, Reply, Response
from dummy_stripe.stores import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEFAULT_PORT: Final = 12111
"""The port of stripe-mock."""

_HEALTH = "/_dummy/health"
_POLL_SECONDS = 0.05
_logger = logging.getLogger("dummy_stripe")


class AccountAPI(StripeAPI):
    """Stripe's API and the control calls on an account. After a call, `fault` is the call's fault."""

    def __init__(self, account: Account) -> None:
        super().__init__(account.store, account.now)
        self._account = account
        self.fault: Fault | None = None

    def _respond(self, request: Request, authorization: str | None) -> Response:
        if request.path.startswith(control_calls.PREFIX):
            # A reset deletes the idempotency keys, with the one of its own call.
            request = request._replace(idempotency_key=None)
        return super()._respond(request, authorization)

    def _operation(self, request: Request) -> Operation:
        if request.path.startswith(control_calls.PREFIX):
            return control_calls.find_operation(self._account, request)
        self.fault = self._account.take_fault(request.path)
        match self.fault and self.fault.kind:
            case FaultKind.LOST_REQUEST:
                raise RequestLost
            case FaultKind.RATE_LIMITED:
                raise refusals.rate_limited()
            case FaultKind.KEY_IN_USE:
                raise refusals.idempotency_key_in_use(request.idempotency_key or "")
            case FaultKind.API_ERROR:
                return partial(_fail, refusals.api_error())
        return super()._operation(request)


class Server(ThreadingTCPServer):
    """A server at `url`, with one thread per connection. `port` 0 selects a free port.

    Raises `OSError` if the port cannot be bound, and `StoreUnavailable` if `state` cannot be opened. `server_close`
    completes the requests in progress.
    """

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int = DEFAULT_PORT, state: Path | None = None) -> None:
        self.accounts = Accounts(state)
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        # Calls `server_close` if it fails.
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client may close its connection at any time.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        self.stopping.set()
        for connection in tuple(self._connections):
            # Ends idle connections, and no others: a handler that has read its request can still respond.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        super().server_close()
        self.accounts.close()


@contextmanager
def serve(port: int = 0, state: Path | None = None) -> Iterator[str]:
    """Serve in a thread while the block runs, and yield the URL."""
    with Server(port, state) as server:
        thread = threading.Thread(target=server.serve_forever, args=[_POLL_SECONDS])
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Handler of one connection."""

    protocol_version = "HTTP/1.1"
    # Send a whole response in one write. With more, the delayed acknowledgement of the first costs 40 ms.
    wbufsize = 2**20
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        # A web page that the user visits can send forms here, even with a key in the URL.
        if self.headers.get("Origin", self.server.url) != self.server.url:
            self.close_connection = True
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
        elif (self.command, self.path) == ("GET", _HEALTH):
            self._send(200, {"Content-Type": "application/json"}, '{"status": "ok"}')
        else:
            self._call(body.decode(errors="replace"))

    do_DELETE = do_PATCH = do_POST = do_PUT = do_GET  # noqa: N815 - http.server requires the names

    def version_string(self) -> str:
        return "dummy_stripe"

    def handle_expect_100(self) -> bool:
        proceeds = super().handle_expect_100()
        self.wfile.flush()
        return proceeds

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Do not log here: a malformed request has no path."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's signature
        _logger.warning(format, *args)

    def _call(self, body: str) -> None:
        api = AccountAPI(self._account())
        try:
            response = api.respond(self.command, self.path, dict(self.headers.items()), body)
        except RequestLost:
            self._lose(api.fault)
        except StoreUnavailable as error:
            _logger.error("state unavailable: %s", error)  # noqa: TRY400 - the cause is in the message
            self._reset()
        else:
            self._deliver(response, api.fault)

    def _account(self) -> Account:
        try:
            return self.server.accounts.find(read_secret_key(self.headers.get("Authorization")))
        except Refusal:
            # The API refuses the call.
            return Account(ServedMemoryStore())

    def _deliver(self, response: HTTPResponse, fault: Fault | None) -> None:
        if response.reply is Reply.LOST or (fault and fault.kind is FaultKind.LOST_REPLY):
            self._lose(fault)
            return
        if fault and fault.kind is FaultKind.SLOW:
            self.server.stopping.wait(fault.seconds)
        elif response.reply is Reply.SLOW:
            self.server.stopping.wait(SLOW_SECONDS)
        self._send(response.status, response.headers, response.body)

    def _send(self, status: int, headers: Any, body: str) -> None:
        content = body.encode()
        self._log(status)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _lose(self, fault: Fault | None) -> None:
        self._log("no response")
        if fault and fault.ending is Ending.RESET:
            self._reset()
        else:
            # Returns when the client closes the connection, or when the server stops.
            self.connection.recv(1)
            self.close_connection = True

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _log(self, outcome: int | str) -> None:
        # Without the query, which can hold customers' data.
        _logger.info("%s %s %s", self.command, quote(urlsplit(self.path).path, safe="/%"), outcome)


def _fail(refused: Refusal, _: object) -> Response:
    raise refused
