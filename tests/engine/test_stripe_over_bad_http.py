"""`STRIPE_BACKEND=api` against a server that is slow, fails, truncates, redirects or refuses connections."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import stripe

from order_payments.domain.errors import Busy, PaymentProviderError
from order_payments.domain.orders import Order
from order_payments.runtime.clock import Deadline
from order_payments.stripe_adapter import retries as stripe_retries
from order_payments.stripe_adapter.gateway import StripeGateway
from order_payments.stripe_adapter.outcomes import Paid, RateLimited, Unknown
from order_payments.stripe_adapter.transport import TimedSession

from .stripe_servers import (
    FAR_DEADLINE,
    KEY,
    ScriptedStripe,
    ScriptHandler,
    Step,
    answer,
    claim,
    close_connection,
    keep_silent,
    new_order,
    open_gateway,
    serve_script,
    truncate_response,
)


@pytest.fixture
def scripted() -> Iterator[ScriptedStripe]:
    with serve_script() as stripe:
        yield stripe


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the pause before a retry."""
    monkeypatch.setattr(stripe_retries, "FIRST_PAUSE_SECONDS", 0.0)


@pytest.fixture
def wire(scripted: ScriptedStripe) -> Iterator[StripeGateway]:
    with open_gateway(scripted.url) as gateway:
        yield gateway


def intent_for(order: Order, status: str = "succeeded") -> dict[str, Any]:
    """Return an order's intent, with the fields that the gateway reads."""
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": order.total_amount,
        "currency": order.currency,
        "metadata": {"orderId": order.order_id, "buyerId": order.buyer_id},
        "status": status,
    }


ORDER = claim(new_order(), "pi_1")
API_ERROR = {"error": {"type": "api_error", "message": "no"}}
RATE_LIMIT = {"error": {"type": "invalid_request_error", "code": "rate_limit", "message": "no"}}


def test_confirmation_request_has_the_form_stripe_expects(wire: StripeGateway, scripted: ScriptedStripe) -> None:
    scripted.steps = [answer(intent_for(ORDER))]

    assert wire.confirm(ORDER, deadline=FAR_DEADLINE) == Paid()
    (sent,) = scripted.received
    assert (sent.method, sent.path) == ("POST", "/v1/payment_intents/pi_1/confirm")
    assert sent.body == "payment_method=pm_card_visa"
    assert sent.headers["Authorization"] == f"Bearer {KEY}"
    assert sent.headers["Idempotency-Key"] == ORDER.require_in_flight().attempt_id
    assert sent.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert sent.headers["Stripe-Version"] == stripe.api_version


def test_silent_server_is_abandoned_at_the_deadline(wire: StripeGateway, scripted: ScriptedStripe) -> None:
    scripted.steps = [keep_silent]
    deadline = Deadline.after(2.4)

    assert wire.confirm(ORDER, deadline=deadline) == Unknown()
    assert -0.5 < deadline.remaining() < 1
    assert scripted.keys() == [ORDER.require_in_flight().attempt_id] * 2


def test_concurrent_calls_keep_their_own_deadlines(wire: StripeGateway, scripted: ScriptedStripe) -> None:
    def answer_late(handler: ScriptHandler) -> None:
        scripted.finished.wait(1.5)
        with suppress(ConnectionError):  # a call past its deadline has closed the connection
            answer(intent_for(ORDER))(handler)

    scripted.steps = [answer_late]
    start = threading.Barrier(8)

    def confirm(deadline: Deadline) -> object:
        start.wait()
        return wire.confirm(ORDER, deadline=deadline)

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(confirm, [FAR_DEADLINE, Deadline.after(2.6)] * 4))

    assert outcomes == [Paid(), Unknown()] * 4


def test_session_timeout_is_thread_local() -> None:
    with TimedSession() as session, ThreadPoolExecutor(1) as another:
        default = session.timeout
        session.timeout = 1.5
        assert another.submit(lambda: session.timeout).result() == default

        another.submit(setattr, session, "timeout", 7.0).result()
        assert session.timeout == 1.5


def trickle(bytes_before: bytes) -> Step:
    """Send `bytes_before`, then one byte every 0.2 seconds, so that no read times out."""

    def step(handler: ScriptHandler) -> None:
        handler.close_connection = True
        with suppress(ConnectionError):  # the client has given up
            handler.wfile.write(bytes_before)
            while not handler.stripe.finished.wait(0.2):
                handler.wfile.write(b"x")

    return step


@pytest.mark.parametrize(
    "begun",
    [b"", b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"],
    ids=["first line", "headers", "body"],
)
def test_trickling_server_is_abandoned_at_the_deadline(
    wire: StripeGateway, scripted: ScriptedStripe, begun: bytes
) -> None:
    scripted.steps = [trickle(begun)]
    deadline = Deadline.after(2.4)

    assert wire.confirm(ORDER, deadline=deadline) == Unknown()
    assert -0.5 < deadline.remaining() < 1


@pytest.mark.usefixtures("no_pause")
def test_refused_connection_leaves_outcome_unknown() -> None:
    with serve_script() as gone:
        pass
    with open_gateway(gone.url) as gateway:
        with pytest.raises(PaymentProviderError):
            gateway.create_intent(ORDER, deadline=FAR_DEADLINE)
        assert gateway.confirm(ORDER, deadline=FAR_DEADLINE) == Unknown()
        assert gateway.cancel(ORDER, "pi_1", deadline=FAR_DEADLINE) == Unknown()


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize(
    "fault",
    [close_connection, answer(API_ERROR, 500), answer(API_ERROR, 503), answer(API_ERROR, 409)],
    ids=["connection closed", "500", "503", "409"],
)
def test_failed_call_is_retried_with_its_idempotency_key(
    wire: StripeGateway, scripted: ScriptedStripe, fault: Callable[[ScriptHandler], None]
) -> None:
    scripted.steps = [fault, answer(intent_for(ORDER))]

    assert wire.confirm(ORDER, deadline=FAR_DEADLINE) == Paid()
    assert scripted.keys() == [ORDER.require_in_flight().attempt_id] * 2
    assert len({request.body for request in scripted.received}) == 1


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize(
    ("fault", "tries"),
    [
        (close_connection, 2),
        (answer(API_ERROR, 500), 2),
        (answer(API_ERROR, 500, Stripe_Should_Retry="false"), 1),
        # The SDK does not retry a connection that was closed in the middle of a response.
        (truncate_response, 1),
    ],
    ids=["connection closed", "500", "500, do not retry", "truncated"],
)
def test_repeatedly_failing_call_leaves_outcome_unknown(
    wire: StripeGateway, scripted: ScriptedStripe, fault: Callable[[ScriptHandler], None], tries: int
) -> None:
    scripted.steps = [fault]

    assert wire.confirm(ORDER, deadline=FAR_DEADLINE) == Unknown()
    assert scripted.keys() == [ORDER.require_in_flight().attempt_id] * tries
    with pytest.raises(PaymentProviderError):
        wire.create_intent(ORDER, deadline=FAR_DEADLINE)


def test_rate_limited_call_is_retried_with_its_key_after_retry_after(
    wire: StripeGateway, scripted: ScriptedStripe
) -> None:
    arrivals: list[float] = []

    def limit(handler: ScriptHandler) -> None:
        arrivals.append(time.monotonic())
        answer(RATE_LIMIT, 429, Retry_After="1")(handler)

    def pay(handler: ScriptHandler) -> None:
        arrivals.append(time.monotonic())
        answer(intent_for(ORDER))(handler)

    scripted.steps = [limit, pay]

    assert wire.confirm(ORDER, deadline=FAR_DEADLINE) == Paid()
    assert scripted.keys() == [ORDER.require_in_flight().attempt_id] * 2
    assert arrivals[1] - arrivals[0] >= 1


@pytest.mark.usefixtures("no_pause")
def test_call_that_is_always_rate_limited_charges_nothing(wire: StripeGateway, scripted: ScriptedStripe) -> None:
    scripted.steps = [answer(RATE_LIMIT, 429)]

    assert wire.confirm(ORDER, deadline=FAR_DEADLINE) == RateLimited(retry_after_seconds=1)
    with pytest.raises(Busy):
        wire.create_intent(ORDER, deadline=FAR_DEADLINE)


def test_closed_connection_is_replaced(wire: StripeGateway, scripted: ScriptedStripe) -> None:
    def answer_and_leave(handler: ScriptHandler) -> None:
        answer(intent_for(ORDER))(handler)
        handler.close_connection = True

    scripted.steps = [answer_and_leave]

    assert [wire.confirm(ORDER, deadline=FAR_DEADLINE) for _ in range(3)] == [Paid()] * 3
    assert len(scripted.received) == 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(wire: StripeGateway, scripted: ScriptedStripe, status: int) -> None:
    with serve_script() as other_server:
        other_server.steps = [answer(intent_for(ORDER))]
        scripted.steps = [answer({}, status, Location=f"{other_server.url}/v1/payment_intents/pi_1")]

        assert wire.confirm(ORDER, deadline=FAR_DEADLINE) == Unknown()
        with pytest.raises(PaymentProviderError):
            wire.create_intent(ORDER, deadline=FAR_DEADLINE)
        assert other_server.received == []
    assert len(scripted.received) == 2
