"""The HTTP server, as clients see it: through `http.client` and through the Stripe SDK."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse, RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import stripe

import dummy_stripe
from dummy_stripe import REFUND_CHANGE_SECONDS
from dummy_stripe.server import serve

KEY = "sk_test_overHttp1234"
OTHER_KEY = "sk_test_another1234"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
INTENT = {"amount": 4599, "currency": "usd", "payment_method_types[]": "card"}
INTENTS = "/v1/payment_intents"


class Caller:
    """A client with one connection, as a program without the SDK has."""

    def __init__(self, url: str, authorization: str | None = f"Bearer {KEY}", timeout: float = 20) -> None:
        address = urlsplit(url)
        self.connection = HTTPConnection(str(address.hostname), address.port, timeout=timeout)
        self.headers = {"Authorization": authorization} if authorization else {}

    def send(self, method: str, path: str, form: dict[str, Any] | None = None, **headers: str) -> HTTPResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = urlencode(form) if form else None
        self.connection.request(method, path, body, {**self.headers, **(FORM if form else {}), **named})
        return self.connection.getresponse()

    def call(self, method: str, path: str, form: dict[str, Any] | None = None, **headers: str) -> Any:
        """Return the status and the body of a response."""
        response = self.send(method, path, form, **headers)
        return response.status, json.loads(response.read())

    def close(self) -> None:
        self.connection.close()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serve() as url:
        yield url


@pytest.fixture
def caller(server: str) -> Iterator[Caller]:
    with closing(Caller(server)) as caller:
        caller.call("POST", "/_dummy/reset")
        yield caller


@pytest.fixture
def client(server: str, caller: Caller) -> stripe.StripeClient:  # noqa: ARG001 - resets the state
    return sdk_client(server)


def sdk_client(url: str, key: str = KEY, retries: int = 0) -> stripe.StripeClient:
    return stripe.StripeClient(key, base_addresses={"api": url}, max_network_retries=retries)


def create(client: stripe.StripeClient, key: str | None = None, **params: Any) -> stripe.PaymentIntent:
    options: Any = {"idempotency_key": key} if key else {}
    asked: Any = {"amount": 4599, "currency": "usd", "payment_method_types": ["card"], **params}
    return client.v1.payment_intents.create(asked, options)


def count_intents(client: stripe.StripeClient) -> int:
    return len(client.v1.payment_intents.list({"limit": 100}).data)


@contextmanager
def start_program(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `python -m dummy_stripe` on a free port, and yield the process and its URL."""
    with subprocess.Popen(
        [sys.executable, "-m", "dummy_stripe", "--port", "0", *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(dummy_stripe.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            ready = process.stdout.readline()
            yield process, ready.partition(" is at ")[2].partition(". ")[0]
        finally:
            process.kill()


def test_sdk_pays_an_order_over_http(client):
    intent = create(client)
    paid = client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})

    assert paid.status == "succeeded"
    assert client.v1.payment_intents.retrieve(intent.id).latest_charge == paid.latest_charge


def test_sdk_gets_a_decline_over_http(client):
    intent = create(client)
    with pytest.raises(stripe.CardError) as caught:
        client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa_chargeDeclined"})

    assert (caught.value.code, caught.value.error.decline_code) == ("card_declined", "generic_decline")


def test_basic_and_bearer_authentication_share_an_account(server, caller):
    caller.call("POST", INTENTS, INTENT)
    credentials = base64.b64encode(f"{KEY}:".encode()).decode()
    with closing(Caller(server, f"Basic {credentials}")) as basic:
        status, page = basic.call("GET", INTENTS)

    assert (status, len(page["data"])) == (200, 1)


@pytest.mark.parametrize(
    "authorization", [None, "Bearer", "Bearer sk_live_1234", "Basic !", "Basic Og==", "Digest sk_test_1"]
)
@pytest.mark.parametrize("path", [INTENTS, "/_dummy/reset"])
def test_call_without_a_test_key_is_refused(server, authorization, path):
    with closing(Caller(server, authorization)) as anonymous:
        status, body = anonymous.call("POST", path)

    assert (status, body["error"]["type"]) == (401, "invalid_request_error")


def test_each_secret_key_has_its_own_state(server, client):
    mine = create(client, "order-1")
    other = sdk_client(server, OTHER_KEY)
    other.raw_request("post", "/_dummy/reset")

    assert create(other, "order-1").id != mine.id
    assert count_intents(other) == count_intents(client) == 1
    with pytest.raises(stripe.InvalidRequestError, match="No such payment_intent"):
        other.v1.payment_intents.retrieve(mine.id)


def test_health_needs_no_key(server):
    with closing(Caller(server, None)) as anonymous:
        assert anonymous.call("GET", "/_dummy/health") == (200, {"status": "ok"})


def test_server_listens_on_the_loopback_interface_only(server):
    port = int(server.rpartition(":")[2])
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", port), timeout=2):  # noqa: PT011 - any refusal
        pass


def test_connection_serves_several_calls(caller):
    caller.call("POST", INTENTS, INTENT)
    opened = caller.connection.sock
    caller.call("POST", INTENTS, {"amount": "x"})
    caller.call("GET", INTENTS)

    assert caller.connection.sock is opened


def test_response_is_one_write(caller, monkeypatch):
    for _ in range(20):
        caller.call("POST", INTENTS, INTENT)
    writes = []
    write = socket.SocketIO.write

    def record(self, data):
        writes.append(len(data))
        return write(self, data)

    monkeypatch.setattr(socket.SocketIO, "write", record)
    body = caller.send("GET", f"{INTENTS}?limit=20").read()

    assert len(body) > 20_000
    assert len(writes) == 1
    assert writes[0] > len(body)


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH"])
def test_other_methods_get_stripes_error(caller, method):
    status, body = caller.call(method, INTENTS)

    assert status == 404
    assert body["error"]["message"].startswith(f"Unrecognized request URL ({method}: {INTENTS}).")


def test_body_without_length_is_refused(caller):
    caller.connection.putrequest("POST", INTENTS)
    caller.connection.putheader("Transfer-Encoding", "chunked")
    caller.connection.endheaders()

    assert caller.connection.getresponse().status == 411


@pytest.mark.parametrize(("origin", "status"), [("https://shop.example", 403), ("null", 403), (None, 200)])
def test_web_page_of_another_origin_cannot_call_it(server, caller, origin, status):
    response = caller.send("POST", "/_dummy/reset", Origin=origin or server)

    assert response.status == status


def test_malformed_request_is_refused(server):
    address = urlsplit(server)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        connection.sendall(b"GET /a b c HTTP/1.1\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_client_that_waits_for_permission_gets_it(server):
    address = urlsplit(server)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        connection.sendall(
            f"POST {INTENTS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 24\r\n"
            f"Content-Type: {FORM['Content-Type']}\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"amount=4599&currency=usd")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_concurrent_calls_with_one_key_create_one_intent(caller, server):
    start = threading.Barrier(20)

    def send(_: int) -> str:
        with closing(Caller(server)) as own:
            start.wait()
            while True:
                status, body = own.call("POST", INTENTS, INTENT, Idempotency_Key="order-1")
                if status == 200:
                    return body["id"]
                assert body["error"]["code"] == "idempotency_key_in_use"

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(send, range(20)))) == 1
    assert len(caller.call("GET", INTENTS)[1]["data"]) == 1


# Control calls


def test_reset_deletes_everything(caller):
    caller.call("POST", "/_dummy/clock", {"advance": 3600})
    caller.call("POST", "/_dummy/faults", {"fault": "api_error"})
    first = caller.call("POST", INTENTS, INTENT, Idempotency_Key="order-1")
    assert first[0] == 500

    assert caller.call("POST", "/_dummy/reset", Idempotency_Key="again") == (200, {})
    assert caller.call("POST", "/_dummy/reset", Idempotency_Key="again") == (200, {})
    status, intent = caller.call("POST", INTENTS, INTENT, Idempotency_Key="order-1")
    assert status == 200
    assert abs(intent["created"] - time.time()) < 60


def test_advanced_clock_ends_a_pending_refund(caller, client):
    intent = create(client, payment_method="pm_card_pendingRefund", confirm=True)
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    assert refund.status == "pending"

    status, body = caller.call("POST", "/_dummy/clock", {"advance": REFUND_CHANGE_SECONDS})
    assert status == 200
    assert abs(body["now"] - time.time() - REFUND_CHANGE_SECONDS) < 10
    assert client.v1.refunds.retrieve(refund.id).status == "succeeded"


def test_slow_call_is_executed_and_responds_late(caller, client):
    caller.call("POST", "/_dummy/faults", {"fault": "slow", "seconds": 1})
    started = time.monotonic()
    create(client)

    assert 1 <= time.monotonic() - started < 3
    assert count_intents(client) == 1


@pytest.mark.parametrize(("fault", "created"), [("lost_reply", 1), ("lost_request", 0)])
def test_lost_call_times_out(server, caller, client, fault, created):
    caller.call("POST", "/_dummy/faults", {"fault": fault})
    with closing(Caller(server, timeout=1)) as impatient, pytest.raises(TimeoutError):
        impatient.call("POST", INTENTS, INTENT)

    assert count_intents(client) == created


@pytest.mark.parametrize(("fault", "created"), [("lost_reply", 1), ("lost_request", 0)])
def test_lost_call_ends_with_a_reset_on_request(server, caller, client, fault, created):
    caller.call("POST", "/_dummy/faults", {"fault": fault, "as": "reset"})
    with closing(Caller(server)) as own, pytest.raises(ConnectionResetError) as caught:
        own.call("POST", INTENTS, INTENT)

    assert not isinstance(caught.value, RemoteDisconnected)  # which is an ordinary end of the connection
    assert count_intents(client) == created


def test_sdk_retry_after_a_lost_reply_gets_the_saved_response(server, caller, client):
    caller.call("POST", "/_dummy/faults", {"fault": "lost_reply", "as": "reset"})
    intent = create(sdk_client(server, retries=1))

    assert count_intents(client) == 1
    assert intent.last_response.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize(
    ("fault", "status", "code", "error", "is_replayed"),
    [
        ("rate_limited", 429, "rate_limit", stripe.RateLimitError, False),
        ("key_in_use", 409, "idempotency_key_in_use", stripe.APIError, False),
        ("api_error", 500, None, stripe.APIError, True),
    ],
)
def test_refused_call_changes_nothing(caller, client, fault, status, code, error, is_replayed):
    caller.call("POST", "/_dummy/faults", {"fault": fault})
    with pytest.raises(stripe.StripeError) as caught:
        create(client, "order-1")

    assert (caught.value.http_status, getattr(caught.value.error, "code", None)) == (status, code)
    assert count_intents(client) == 0
    # As on Stripe, only an executed request has a saved response.
    if is_replayed:
        with pytest.raises(error):
            create(client, "order-1")
    else:
        assert create(client, "order-1").id


def test_saved_response_can_be_rate_limited_too(caller, client):
    intent = create(client, "order-1")
    caller.call("POST", "/_dummy/faults", {"fault": "rate_limited"})
    with pytest.raises(stripe.RateLimitError):
        create(client, "order-1")

    assert create(client, "order-1").id == intent.id


def test_fault_applies_to_a_number_of_calls_of_a_path(caller, client):
    caller.call("POST", "/_dummy/faults", {"fault": "rate_limited", "path": "*/confirm", "calls": 2})
    intent = create(client)
    for _ in range(2):
        with pytest.raises(stripe.RateLimitError):
            client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})

    paid = client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert paid.status == "succeeded"


def test_fault_of_one_key_spares_the_others(server, caller):
    caller.call("POST", "/_dummy/faults", {"fault": "rate_limited"})

    assert create(sdk_client(server, OTHER_KEY)).id
    assert caller.call("GET", INTENTS)[0] == 429


@pytest.mark.parametrize(
    ("path", "form", "param"),
    [
        ("faults", {}, "fault"),
        ("faults", {"fault": "earthquake"}, "fault"),
        ("faults", {"fault": "slow", "colour": "red"}, "colour"),
        ("faults", {"fault": "lost_reply", "as": "smoke"}, "as"),
        ("faults", {"fault": "slow", "calls": 0}, "calls"),
        ("clock", {"advance": -1}, "advance"),
        ("clock", {}, "advance"),
        ("reset", {"all": "true"}, "all"),
    ],
)
def test_invalid_control_call_is_refused(caller, path, form, param):
    status, body = caller.call("POST", f"/_dummy/{path}", form)

    assert (status, body["error"]["param"]) == (400, param)


def test_unknown_control_call_is_not_found(caller):
    assert caller.call("POST", "/_dummy/nothing")[0] == 404
    assert caller.call("GET", "/_dummy/reset")[0] == 404


@pytest.mark.parametrize("token", ["pm_dummy_timeout_after_charge", "pm_dummy_timeout_before_charge"])
def test_fault_tokens_time_out_over_http(server, client, token):
    intent = create(client)
    with closing(Caller(server, timeout=1)) as impatient, pytest.raises(TimeoutError):
        impatient.call("POST", f"{INTENTS}/{intent.id}/confirm", {"payment_method": token})

    is_paid = client.v1.payment_intents.retrieve(intent.id).status == "succeeded"
    assert is_paid == (token == "pm_dummy_timeout_after_charge")


# State in a file


def test_state_file_survives_a_restart(tmp_path):
    state = tmp_path / "state.sqlite"
    with serve(state=state) as url:
        client = sdk_client(url)
        intent = create(client, "order-1")
        client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
        client.raw_request("post", "/_dummy/clock", advance=3600)

    with serve(state=state) as url:
        client = sdk_client(url)
        assert client.v1.payment_intents.retrieve(intent.id).status == "succeeded"
        assert create(client, "order-1").last_response.headers["idempotent-replayed"] == "true"
        assert create(client).created - intent.created >= 3600
        assert count_intents(sdk_client(url, OTHER_KEY)) == 0
        client.raw_request("post", "/_dummy/reset")
        assert count_intents(client) == 0
        assert abs(create(client).created - time.time()) < 60
    assert KEY.encode() not in state.read_bytes()


def test_killed_server_loses_no_response(tmp_path):
    state = tmp_path / "state.sqlite"
    with start_program("--state", str(state)) as (process, url):
        intent = create(sdk_client(url))
        process.kill()
        process.wait()

    with serve(state=state) as url:
        assert sdk_client(url).v1.payment_intents.retrieve(intent.id).amount == 4599


# The program


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_program_completes_calls_in_progress_and_stops(number):
    with start_program() as (process, url), closing(Caller(url)) as idle, closing(Caller(url)) as busy:
        idle.call("GET", "/_dummy/health")
        busy.call("POST", "/_dummy/faults", {"fault": "slow", "seconds": 60, "path": INTENTS})
        busy.connection.request("GET", INTENTS, headers=busy.headers)
        with closing(Caller(url)) as lost:
            lost.call("POST", "/_dummy/faults", {"fault": "lost_request", "path": "/lost"})
            lost.connection.request("GET", "/lost", headers=lost.headers)
            assert process.stderr
            while "/lost" not in process.stderr.readline():
                pass
            process.send_signal(number)
            assert json.loads(busy.connection.getresponse().read())["object"] == "list"
            with pytest.raises(RemoteDisconnected):
                lost.connection.getresponse()
        assert process.wait(10) == 0
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("option", ["--port", "--state"])
def test_program_reports_what_it_cannot_open(server, tmp_path, option):
    value = server.rpartition(":")[2] if option == "--port" else str(tmp_path / "none" / "state")
    with start_program(option, value) as (process, _):
        assert process.stderr
        reported = process.stderr.read()

    assert process.returncode == 1
    assert reported.rstrip().endswith(f"with {option}.")
    assert "Traceback" not in reported


def test_log_has_no_keys_and_no_queries():
    with start_program() as (process, url):
        sdk_client(url).v1.payment_intents.list({"limit": 3})
        process.terminate()
        process.wait(10)
        assert process.stderr
        assert process.stderr.read() == f"GET {INTENTS} 200\n"
