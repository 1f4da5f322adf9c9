"""Stripes that are servers on the loopback interface: localstripe, a shim before it, and one that answers by script.

And the gateway that talks to them.
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
PLENTY = Deadline.after(3600)
READY_SECONDS = 30


@contextmanager
def gateway_to(url: str, key: str = KEY) -> Iterator[StripeGateway]:
    """The gateway as a function has it with `STRIPE_BACKEND=api`."""
    settings = StripeSettings(secret_key=key, backend=StripeBackend.API, api_base=url, dummy_table=None)
    gateway = stripe_gateway(settings)
    # Private: a function keeps its connection for as long as it lives, and has no call that closes it.
    session = gateway._transport
    assert isinstance(session, TimedSession)
    with session:
        yield gateway


def an_order() -> Order:
    return Order.place("alice", [OrderLine("tea", "Tea", 2, 4599)], "usd", NOW)


def claimed(order: Order, intent_id: str, card: str = "pm_card_visa") -> Order:
    return replace(order, attempt=PaymentAttempt(PaymentAttempt.new_id(), intent_id, card, NOW))


# What `localstripe --port N` does, but for two things: that listens on all interfaces, and it keeps its state in a
# file of a fixed name in /tmp, which it unpickles when it starts.
LOCALSTRIPE = """
import socket, sys
from aiohttp import web
from localstripe.resources import Store
Store.dump_to_disk = lambda store: None
from localstripe.server import app
web.run_app(app, sock=socket.socket(fileno=int(sys.argv[1])), print=None)
"""


@contextmanager
def running_localstripe(log: Path) -> Iterator[str]:
    """The address of a localstripe of our own, in its own process."""
    # It gets the socket rather than a port's number, so that nobody else can take the port in between.
    with socket.create_server(("127.0.0.1", 0)) as listening, log.open("wb") as output:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-c", LOCALSTRIPE, str(listening.fileno())],
            pass_fds=[listening.fileno()],
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
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            requests.get(url, timeout=1)
        except requests.RequestException:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"localstripe does not start:\n{log.read_text()}")


@contextmanager
def shim_before(localstripe: str) -> Iterator[str]:
    """The address of a shim before localstripe that says in its words what it does not understand in Stripe's.

    It drops `allowed_payment_method_types` from a creation, and gives a confirmation's `payment_method` to the intent
    first. Everything else, answers included, passes as it is.
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
            """Say nothing."""

    with _serving(Shim) as url:
        yield url


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came over the wire."""

    method: str
    path: str
    headers: Message
    body: str


Step = Callable[["ScriptHandler"], None]


@dataclass
class ScriptedStripe:
    """A server that takes one of `steps` for each request, the last one for all that come later.

    `over` is set when the test is: it lets go what still waits.
    """

    url: str = ""
    steps: list[Step] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def keys(self) -> list[str | None]:
        """The idempotency keys that came."""
        return [request.headers["Idempotency-Key"] for request in self.received]


class ScriptHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stripe: ClassVar[ScriptedStripe]

    def do_GET(self) -> None:
        self.stripe.received.append(Received(self.command, self.path, self.headers, _body(self)))
        step = self.stripe.steps.pop(0) if len(self.stripe.steps) > 1 else self.stripe.steps[0]
        step(self)

    do_POST = do_GET  # noqa: N815 - the name that http.server wants

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def answer(body: Any, status: int = 200, **headers: str) -> Step:
    content = json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: _answer(handler, status, content, {"Content-Type": "application/json", **named})


def say_nothing(handler: ScriptHandler) -> None:
    handler.stripe.over.wait(60)
    handler.close_connection = True


def hang_up(handler: ScriptHandler) -> None:
    handler.close_connection = True


def break_off(handler: ScriptHandler) -> None:
    """End the connection in the middle of an answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "4096")
    handler.end_headers()
    handler.wfile.write(b'{"id": "pi_')
    handler.close_connection = True


@contextmanager
def scripted_stripe() -> Iterator[ScriptedStripe]:
    state = ScriptedStripe()
    with _serving(type("Handler", (ScriptHandler,), {"stripe": state})) as state.url:
        try:
            yield state
        finally:
            state.over.set()


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address at which `handler` serves, every connection in a thread of its own."""
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
