"""Stripe servers on the loopback interface: localstripe, a shim in front of it, and a scripted server.

Also the gateway that calls them.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl

import pytest
import requests

from order_payments.domain.orders import Order, OrderLine, PaymentAttempt
from order_payments.runtime.clock import Deadline
from order_payments.runtime.settings import StripeBackend, StripeSettings
from order_payments.stripe_adapter.gateway import StripeGateway, stripe_gateway
from order_payments.stripe_adapter.transport import TimedSession

KEY = "sk_test_overHttp1234"
NOW = datetime(2026, 11, 23, tzinfo=UTC)
FAR_DEADLINE = Deadline.after(3600)
START_TIMEOUT_SECONDS = 30


@contextmanager
def open_gateway(url: str, key: str = KEY) -> Iterator[StripeGateway]:
    """Yield the gateway that a function uses with `STRIPE_BACKEND=api`."""
    settings = StripeSettings(secret_key=key, backend=StripeBackend.API, api_base=url, dummy_table=None)
    gateway = stripe_gateway(settings)
    # Private, because a function never closes its connection, so the gateway has no method for it.
    session = gateway._transport
    assert isinstance(session, TimedSession)
    with session:
        yield gateway


def new_order() -> Order:
    return Order.place("alice", [OrderLine("tea", "Tea", 2, 4599)], "usd", NOW)


def claim(order: Order, intent_id: str, card: str = "pm_card_visa") -> Order:
    return replace(order, attempt=PaymentAttempt(PaymentAttempt.new_id(), intent_id, card, NOW))


# Replaces `localstripe --port N`, which listens on all interfaces, and unpickles its state from a fixed file in /tmp.
LOCALSTRIPE = """
import socket, sys
from aiohttp import web
from localstripe.resources import Store
Store.dump_to_disk = lambda store: None
from localstripe.server import app
web.run_app(app, sock=socket.socket(fileno=int(sys.argv[1])), print=None)
"""


@contextmanager
def start_localstripe(log: Path) -> Iterator[str]:
    """Run localstripe in a process and yield its URL."""
    # Passing the socket instead of a port number keeps other processes from taking the port first.
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as output:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-c", LOCALSTRIPE, str(listener.fileno())],
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"]},
        )
    try:
        _wait_until_ready(url, process, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            requests.get(url, timeout=1)
        except requests.RequestException:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"localstripe did not start:\n{log.read_text()}")


@contextmanager
def serve_shim(localstripe: str) -> Iterator[str]:
    """Run a shim that translates two requests that localstripe does not accept, and yield its URL.

    It drops `allowed_payment_method_types` from a creation, and sets a confirmation's `payment_method` on the intent
    first. All else passes unchanged.
    """

    class Shim(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._pass_on([])

        def do_POST(self) -> None:
            form = parse_qsl(_body(self))
            intent, _, action = self.path.rpartition("/")
            if self.path == "/v1/payment_intents":
                form = [field for field in form if not field[0].startswith("allowed_payment_method_types[")]
            elif action == "confirm":
                self._ask(intent, [field for field in form if field[0] == "payment_method"])
                form = [field for field in form if field[0] != "payment_method"]
            self._pass_on(form)

        def _pass_on(self, form: list[tuple[str, str]]) -> None:
            answered = self._ask(self.path, form)
            _answer(self, answered.status_code, answered.content, {"Content-Type": answered.headers["Content-Type"]})

        def _ask(self, path: str, form: list[tuple[str, str]]) -> requests.Response:
            headers = {"Authorization": self.headers["Authorization"]}
            return requests.request(self.command, f"{localstripe}{path}", headers=headers, data=form, timeout=10)

        def log_message(self, *_: object) -> None:
            """Do not log."""

    with _serving(Shim) as url:
        yield url


@dataclass(frozen=True, slots=True)
class Received:
    """A request as received."""

    method: str
    path: str
    headers: Message
    body: str


Step = Callable[["ScriptHandler"], None]


@dataclass
class ScriptedStripe:
    """A server that runs one of `steps` per request, and the last one for all further requests.

    `finished` is set at the end of the test and releases waiting steps.
    """

    url: str = ""
    steps: list[Step] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    finished: threading.Event = field(default_factory=threading.Event)

    def keys(self) -> list[str | None]:
        """Return the received idempotency keys."""
        return [request.headers["Idempotency-Key"] for request in self.received]


class ScriptHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stripe: ClassVar[ScriptedStripe]

    def do_GET(self) -> None:
        self.stripe.received.append(Received(self.command, self.path, self.headers, _body(self)))
        step = self.stripe.steps.pop(0) if len(self.stripe.steps) > 1 else self.stripe.steps[0]
        step(self)

    do_POST = do_GET  # noqa: N815 - http.server requires the name

    def log_message(self, *_: object) -> None:
        """Do not log."""


def answer(body: Any, status: int = 200, **headers: str) -> Step:
    content = json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: _answer(handler, status, content, {"Content-Type": "application/json", **named})


def keep_silent(handler: ScriptHandler) -> None:
    handler.stripe.finished.wait(60)
    handler.close_connection = True


def close_connection(handler: ScriptHandler) -> None:
    handler.close_connection = True


def truncate_response(handler: ScriptHandler) -> None:
    """Close the connection in the middle of a response."""
    handler.send_response(200)
    handler.send_header("Content-Length", "4096")
    handler.end_headers()
    handler.wfile.write(b'{"id": "pi_')
    handler.close_connection = True


@contextmanager
def serve_script() -> Iterator[ScriptedStripe]:
    state = ScriptedStripe()
    with _serving(type("Handler", (ScriptHandler,), {"stripe": state})) as state.url:
        try:
            yield state
        finally:
            state.finished.set()


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve with `handler`, one thread per connection, and yield the URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _body(handler: BaseHTTPRequestHandler) -> str:
    return handler.rfile.read(int(handler.headers["Content-Length"] or 0)).decode()


def _answer(handler: BaseHTTPRequestHandler, status: int, content: bytes, headers: dict[str, str]) -> None:
    handler.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(content))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)
