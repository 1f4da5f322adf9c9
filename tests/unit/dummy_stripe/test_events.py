"""The dummy's signed events, genuine and forged, as the real SDK verifies them."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import stripe

from dummy_stripe import PROCESSING_SECONDS, EventType, RefundStatus, deliver, end_refund, make_event, sign
from dummy_stripe.events import encode_event

SECRET = "whsec_dummyNeverShown1234"
SUCCEEDED = EventType.PAYMENT_INTENT_SUCCEEDED


def event_of_paid_intent(dummy, event_type: EventType = SUCCEEDED, **request: str) -> dict[str, Any]:
    intent = dummy.store.intent(dummy.pay(metadata={"orderId": "o1"}).id)
    return make_event(intent, event_type, dummy.clock(), **request)


def verify(payload: bytes, header: str | None, secret: str = SECRET) -> stripe.Event:
    return stripe.Webhook.construct_event(payload, header, secret)


def test_event_has_its_intent_and_request(memory_dummy):
    event = event_of_paid_intent(memory_dummy, request_id="req_1", idempotency_key="attempt")

    assert event["id"].startswith("evt_")
    assert (event["object"], event["type"], event["livemode"]) == ("event", "payment_intent.succeeded", False)
    assert (event["api_version"], event["pending_webhooks"]) == (stripe.api_version, 1)
    assert event["created"] == int(memory_dummy.clock.now)
    assert event["request"] == {"id": "req_1", "idempotency_key": "attempt"}
    intent = event["data"]["object"]
    assert (intent["status"], intent["metadata"]) == ("succeeded", {"orderId": "o1"})
    assert intent == memory_dummy.raw("get", f"/v1/payment_intents/{intent['id']}").body


def test_events_of_one_intent_have_different_ids(memory_dummy):
    intent = memory_dummy.store.intent(memory_dummy.create().id)
    ids = {make_event(intent, EventType.PAYMENT_INTENT_CREATED, 1.0)["id"] for _ in range(2)}

    assert len(ids) == 2


def test_event_has_the_intents_state_at_its_time(memory_dummy):
    processing = memory_dummy.confirm(memory_dummy.create().id, "pm_dummy_processing")
    intent = memory_dummy.store.intent(processing.id)
    now = memory_dummy.clock()

    assert make_event(intent, EventType.PAYMENT_INTENT_PROCESSING, now)["data"]["object"]["status"] == "processing"
    assert make_event(intent, SUCCEEDED, now + PROCESSING_SECONDS)["data"]["object"]["status"] == "succeeded"


def test_refund_event_has_the_charge(memory_dummy):
    paid = memory_dummy.pay()
    memory_dummy.refund(paid.id, amount=1000)
    event = make_event(memory_dummy.store.intent(paid.id), EventType.CHARGE_REFUNDED, memory_dummy.clock())

    charge = event["data"]["object"]
    assert (charge["object"], charge["id"], charge["payment_intent"]) == ("charge", paid.latest_charge, paid.id)
    assert (charge["amount_refunded"], charge["refunded"]) == (1000, False)


REFUND_EVENTS = [
    EventType.REFUND_CREATED,
    EventType.REFUND_UPDATED,
    EventType.REFUND_FAILED,
    EventType.CHARGE_REFUND_UPDATED,
]


@pytest.mark.parametrize("event_type", REFUND_EVENTS)
def test_refund_event_has_the_chosen_or_newest_refund(memory_dummy, event_type):
    paid = memory_dummy.pay()
    first, second = (memory_dummy.refund(paid.id, amount=1000).id for _ in range(2))
    intent = end_refund(memory_dummy.store, first, RefundStatus.FAILED, memory_dummy.clock())

    newest = make_event(intent, event_type, memory_dummy.clock())["data"]["object"]
    assert (newest["object"], newest["id"], newest["status"]) == ("refund", second, "succeeded")
    chosen = make_event(intent, event_type, memory_dummy.clock(), refund_id=first)["data"]["object"]
    assert chosen == memory_dummy.raw("get", f"/v1/refunds/{first}").body
    assert (chosen["id"], chosen["status"]) == (first, "failed")


@pytest.mark.parametrize("event_type", [*REFUND_EVENTS, EventType.CHARGE_REFUNDED])
def test_refund_event_without_a_refund_is_an_error(memory_dummy, event_type):
    with pytest.raises(ValueError, match="nothing of pi_"):
        event_of_paid_intent(memory_dummy, event_type)
    paid = memory_dummy.pay()
    memory_dummy.refund(paid.id)
    with pytest.raises(ValueError, match="has no refund re_none"):
        make_event(memory_dummy.store.intent(paid.id), event_type, memory_dummy.clock(), refund_id="re_none")


@pytest.mark.parametrize("event_type", EventType)
def test_sdk_verifies_each_event_type(memory_dummy, event_type):
    paid = memory_dummy.pay(metadata={"orderId": "o1", "ünïcode": "✓"})
    memory_dummy.refund(paid.id, metadata={"ünïcode": "✓"})
    payload = encode_event(make_event(memory_dummy.store.intent(paid.id), event_type, memory_dummy.clock()))

    event = verify(payload, sign(payload, SECRET, int(time.time())))
    assert event.type == event_type
    assert event.data.object.metadata["ünïcode"] == "✓"


def test_signature_equals_the_sdks():
    header = stripe.WebhookSignature.generate_signature_header('{"a": "é"}', SECRET, 1_800_000_000)

    assert sign('{"a": "é"}'.encode(), SECRET, 1_800_000_000) == header


# Delivery.


@dataclass
class Webhook:
    """A webhook endpoint that responds with `status` and records its requests."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    received: list[tuple[bytes, str | None]] = field(default_factory=list)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    state = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            payload = self.rfile.read(int(self.headers["Content-Length"]))
            state.paths.append(self.path)
            state.received.append((payload, self.headers["Stripe-Signature"]))
            self.send_response(state.status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}/webhook?tenant=1"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield state
        server.shutdown()
        thread.join()


def test_sdk_verifies_a_delivered_event(memory_dummy, webhook):
    event = event_of_paid_intent(memory_dummy)

    assert deliver(webhook.url, event, SECRET) == 200
    assert webhook.paths == ["/webhook?tenant=1"]
    ((payload, header),) = webhook.received
    assert json.loads(payload) == event
    assert verify(payload, header).data.object.status == "succeeded"


def test_event_can_be_delivered_again(memory_dummy, webhook):
    event = event_of_paid_intent(memory_dummy)
    deliver(webhook.url, event, SECRET)
    deliver(webhook.url, event, SECRET)

    assert len({verify(*received).id for received in webhook.received}) == 1


def test_event_can_be_delivered_with_a_wrong_signature(memory_dummy, webhook):
    event = event_of_paid_intent(memory_dummy)
    deliver(webhook.url, event, "whsec_another")
    deliver(webhook.url, event, SECRET, timestamp=int(time.time()) - 3600)
    deliver(webhook.url, event, SECRET, signature=sign(b"{}", SECRET, int(time.time())))
    deliver(webhook.url, event, SECRET, signature="garbage")
    deliver(webhook.url, event, SECRET, signature="")

    assert [header is None for _, header in webhook.received] == [False, False, False, False, True]
    for payload, header in webhook.received:
        with pytest.raises(stripe.SignatureVerificationError):
            verify(payload, header)


@pytest.mark.parametrize("status", [204, 302, 400, 500])
def test_delivery_returns_the_status_and_follows_no_redirect(memory_dummy, webhook, status):
    webhook.status, webhook.headers = status, {"Location": webhook.url}

    assert deliver(webhook.url, event_of_paid_intent(memory_dummy), SECRET) == status
    assert len(webhook.received) == 1


def test_delivery_to_a_closed_port_raises_os_error(memory_dummy):
    with socket.socket() as bound:  # reserves a port without listening on it
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="refused"):
            deliver(f"http://127.0.0.1:{bound.getsockname()[1]}/webhook", event_of_paid_intent(memory_dummy), SECRET)
