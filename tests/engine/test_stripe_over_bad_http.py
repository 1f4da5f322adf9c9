"""`STRIPE_BACKEND=api` against a server that is slow, breaks off, fails, sends us elsewhere, or is not there at all."""

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
    KEY,
    PLENTY,
    ScriptedStripe,
    ScriptHandler,
    Step,
    an_order,
    answer,
    break_off,
    claimed,
    gateway_to,
    hang_up,
    say_nothing,
    scripted_stripe,
)


@pytest.fixture
def scripted() -> Iterator[ScriptedStripe]:
    with scripted_stripe() as stripe:
        yield stripe


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the gateway retry at once."""
    monkeypatch.setattr(stripe_retries, "FIRST_PAUSE_SECONDS", 0.0)


@pytest.fixture
def wire(scripted: ScriptedStripe) -> Iterator[StripeGateway]:
    with gateway_to(scripted.url) as gateway:
        yield gateway


def about(order: Order, status: str = "succeeded") -> dict[str, Any]:
    """The intent of an order, as far as we look at it."""
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": order.total_amount,
        "currency": order.currency,
        "metadata": {"orderId": order.order_id, "buyerId": order.buyer_id},
        "status": status,
    }


ORDER = claimed(an_order(), "pi_1")
API_ERROR = {"error": {"type": "api_error", "message": "no"}}
RATE_LIMIT = {"error": {"type": "invalid_request_error", "code": "rate_limit", "message": "no"}}


def test_a_confirmation_goes_over_the_wire_as_stripe_wants_it(wire: StripeGateway, scripted: ScriptedStripe) -> None:
    scripted.steps = [answer(about(ORDER))]

    assert wire.confirm(ORDER, deadline=PLENTY) == Paid()
    (sent,) = scripted.received
    assert (sent.method, sent.path) == ("POST", "/v1/payment_intents/pi_1/confirm")
    assert sent.body == "payment_method=pm_card_visa"
    assert sent.headers["Authorization"] == f"Bearer {KEY}"
    assert sent.headers["Idempotency-Key"] == ORDER.require_in_flight().attempt_id
    assert sent.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert sent.headers["Stripe-Version"] == stripe.api_version


def test_a_server_that_says_nothing_is_waited_for_no_longer_than_there_is_time(
    wire: StripeGateway, scripted: ScriptedStripe
) -> None:
    scripted.steps = [say_nothing]
    deadline = Deadline.after(2.4)

    assert wire.confirm(ORDER, deadline=deadline) == Unknown()
    assert -0.5 < deadline.remaining() < 1
    assert scripted.keys() == [ORDER.require_in_flight().attempt_id] * 2


def test_calls_at_the_same_time_keep_their_own_deadlines(wire: StripeGateway, scripted: ScriptedStripe) -> None:
    def answer_late(handler: ScriptHandler) -> None:
        scripted.over.wait(1.5)
        answer(about(ORDER))(handler)

    scripted.steps = [answer_late]
    start = threading.Barrier(8)

    def confirm(deadline: Deadline) -> object:
        start.wait()
        return wire.confirm(ORDER, deadline=deadline)

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(confirm, [PLENTY, Deadline.after(2.6)] * 4))

    assert outcomes == [Paid(), Unknown()] * 4


def test_a_time_out_is_the_threads_own() -> None:
    with TimedSession() as session, ThreadPoolExecutor(1) as another:
        default = session.timeout
        session.timeout = 1.5
        assert another.submit(lambda: session.timeout).result() == default

        another.submit(setattr, session, "timeout", 7.0).result()
        assert session.timeout == 1.5


def dawdle(bytes_before: bytes) -> Step:
    """Send this much at once, and then a byte at a time, each in good time."""

    def step(handler: ScriptHandler) -> None:
        handler.close_connection = True
        with suppress(ConnectionError):  # nobody is waiting any more
            handler.wfile.write(bytes_before)
            while not handler.stripe.over.wait(0.2):
                handler.wfile.write(b"x")

    return step


@pytest.mark.parametrize(
    "begun",
    [b"", b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"],
    ids=["first line", "headers", "body"],
)
def test_a_server_that_dawdles_is_waited_for_no_longer_than_there_is_time(
    wire: StripeGateway, scripted: ScriptedStripe, begun: bytes
) -> None:
    scripted.steps = [dawdle(begun)]
    deadline = Deadline.after(2.4)

    assert wire.confirm(ORDER, deadline=deadline) == Unknown()
    assert -0.5 < deadline.remaining() < 1


@pytest.mark.usefixtures("no_pause")
def test_where_nobody_listens_nothing_is_known() -> None:
    with scripted_stripe() as gone:
        pass
    with gateway_to(gone.url) as gateway:
        with pytest.raises(PaymentProviderError):
            gateway.create_intent(ORDER, deadline=PLENTY)
        assert gateway.confirm(ORDER, deadline=PLENTY) == Unknown()
        assert gateway.cancel(ORDER, "pi_1", deadline=PLENTY) == Unknown()


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize(
    "fault",
    [hang_up, answer(API_ERROR, 500), answer(API_ERROR, 503), answer(API_ERROR, 409)],
    ids=["hung up", "500", "503", "409"],
)
def test_a_call_that_fails_once_is_tried_again_with_its_key(
    wire: StripeGateway, scripted: ScriptedStripe, fault: Callable[[ScriptHandler], None]
) -> None:
    scripted.steps = [fault, answer(about(ORDER))]

    assert wire.confirm(ORDER, deadline=PLENTY) == Paid()
    assert scripted.keys() == [ORDER.require_in_flight().attempt_id] * 2
    assert len({request.body for request in scripted.received}) == 1


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize(
    ("fault", "tries"),
    [
        (hang_up, 2),
        (answer(API_ERROR, 500), 2),
        (answer(API_ERROR, 500, Stripe_Should_Retry="false"), 1),
        # A connection cut in the middle of an answer is the one fault that the SDK does not try again.
        (break_off, 1),
    ],
    ids=["hung up", "500", "500, do not retry", "cut in the middle"],
)
def test_a_call_that_keeps_failing_leaves_its_outcome_unknown(
    wire: StripeGateway, scripted: ScriptedStripe, fault: Callable[[ScriptHandler], None], tries: int
) -> None:
    scripted.steps = [fault]

    assert wire.confirm(ORDER, deadline=PLENTY) == Unknown()
    assert scripted.keys() == [ORDER.require_in_flight().attempt_id] * tries
    with pytest.raises(PaymentProviderError):
        wire.create_intent(ORDER, deadline=PLENTY)


def test_rate_limited_call_is_repeated_with_its_key_after_retry_after(
    wire: StripeGateway, scripted: ScriptedStripe
) -> None:
    arrivals: list[float] = []

    def limit(handler: ScriptHandler) -> None:
        arrivals.append(time.monotonic())
        answer(RATE_LIMIT, 429, Retry_After="1")(handler)

    def pay(handler: ScriptHandler) -> None:
        arrivals.append(time.monotonic())
        answer(about(ORDER))(handler)

    scripted.steps = [limit, pay]

    assert wire.confirm(ORDER, deadline=PLENTY) == Paid()
    assert scripted.keys() == [ORDER.require_in_flight().attempt_id] * 2
    assert arrivals[1] - arrivals[0] >= 1


@pytest.mark.usefixtures("no_pause")
def test_call_that_meets_only_rate_limits_charged_nothing(wire: StripeGateway, scripted: ScriptedStripe) -> None:
    scripted.steps = [answer(RATE_LIMIT, 429)]

    assert wire.confirm(ORDER, deadline=PLENTY) == RateLimited(retry_after_seconds=1)
    with pytest.raises(Busy):
        wire.create_intent(ORDER, deadline=PLENTY)


def test_a_connection_that_was_closed_meanwhile_is_replaced(wire: StripeGateway, scripted: ScriptedStripe) -> None:
    def answer_and_leave(handler: ScriptHandler) -> None:
        answer(about(ORDER))(handler)
        handler.close_connection = True

    scripted.steps = [answer_and_leave]

    assert [wire.confirm(ORDER, deadline=PLENTY) for _ in range(3)] == [Paid()] * 3
    assert len(scripted.received) == 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(wire: StripeGateway, scripted: ScriptedStripe, status: int) -> None:
    with scripted_stripe() as stranger:
        stranger.steps = [answer(about(ORDER))]
        scripted.steps = [answer({}, status, Location=f"{stranger.url}/v1/payment_intents/pi_1")]

        assert wire.confirm(ORDER, deadline=PLENTY) == Unknown()
        with pytest.raises(PaymentProviderError):
            wire.create_intent(ORDER, deadline=PLENTY)
        assert stranger.received == []
    assert len(scripted.received) == 2
