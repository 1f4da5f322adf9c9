"""Webhook events in Stripe's form: content, signature and delivery. They are sent only on request.

    event = make_event(store.intent("pi_…"), EventType.PAYMENT_INTENT_SUCCEEDED, time.time())
    status = deliver("https://…/webhook", event, "whsec_…")

Stripe may send an event twice, late or out of order. Call `deliver` the same way to test that. Forms:
https://docs.stripe.com/api/events/object and https://docs.stripe.com/webhooks/signatures.
"""

from __future__ import annotations

import hmac
import json
import time
from enum import StrEnum
from http.client import HTTPConnection, HTTPSConnection
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from dummy_stripe import bodies, payment_intents
from dummy_stripe.objects import new_id

if TYPE_CHECKING:
    from dummy_stripe.objects import Intent

DELIVERY_TIMEOUT_SECONDS: Final = 20.0
"""Time that a webhook has to respond."""

Event = dict[str, Any]


class EventType(StrEnum):
    PAYMENT_INTENT_CREATED = "payment_intent.created"
    PAYMENT_INTENT_SUCCEEDED = "payment_intent.succeeded"
    PAYMENT_INTENT_PAYMENT_FAILED = "payment_intent.payment_failed"
    PAYMENT_INTENT_CANCELED = "payment_intent.canceled"
    PAYMENT_INTENT_PROCESSING = "payment_intent.processing"
    PAYMENT_INTENT_REQUIRES_ACTION = "payment_intent.requires_action"
    CHARGE_REFUNDED = "charge.refunded"
    CHARGE_REFUND_UPDATED = "charge.refund.updated"
    REFUND_CREATED = "refund.created"
    REFUND_UPDATED = "refund.updated"
    REFUND_FAILED = "refund.failed"


def make_event(
    intent: Intent,
    event_type: EventType,
    now: float,
    *,
    refund_id: str | None = None,
    request_id: str | None = None,
    idempotency_key: str | None = None,
) -> Event:
    """Return an event about the intent in its state at `now`, in Unix seconds. The state need not fit `event_type`.

    `charge.refunded` is about the intent's charge. The other refund events are about the refund `refund_id`; default:
    the newest. They raise `ValueError` if there is no such refund. `request_id` and `idempotency_key` are those of the
    request that caused the event; they are None for an automatic change.
    """
    return {
        "id": new_id("evt_3", 23),
        "object": "event",
        "api_version": bodies.API_VERSION,
        "created": int(now),
        "data": {"object": _subject(payment_intents.apply_due_changes(intent, now), event_type, refund_id)},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": request_id, "idempotency_key": idempotency_key},
        "type": event_type.value,
    }


def encode_event(event: Event) -> bytes:
    """Return the event as the body of a request."""
    return json.dumps(event, indent=2).encode()


def sign(payload: bytes, secret: str, timestamp: int) -> str:
    """Return the `Stripe-Signature` header of a payload sent at `timestamp`, in Unix seconds."""
    signature = hmac.digest(secret.encode(), b"%d.%b" % (timestamp, payload), "sha256").hex()
    return f"t={timestamp},v1={signature}"


def deliver(
    url: str,
    event: Event,
    secret: str,
    *,
    timestamp: int | None = None,
    signature: str | None = None,
    timeout: float = DELIVERY_TIMEOUT_SECONDS,
) -> int:
    """Post an event to a webhook and return the HTTP status. Like Stripe, it follows no redirect.

    Parameters
    ----------
    timestamp
        Time of the signature in Unix seconds; default: now. Set it to send a stale signature.
    signature
        Header to send instead of the correct one. If it is empty, no header is sent.

    Raises `OSError` or `http.client.HTTPException` if no response arrives.
    """
    payload = encode_event(event)
    if signature is None:
        signature = sign(payload, secret, int(time.time()) if timestamp is None else timestamp)
    address = urlsplit(url)
    connect = HTTPSConnection if address.scheme == "https" else HTTPConnection
    connection = connect(address.hostname or "", address.port, timeout=timeout)
    try:
        connection.request(
            "POST",
            address.path + (f"?{address.query}" if address.query else ""),
            payload,
            {
                "Content-Type": "application/json; charset=utf-8",
                "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
                **({"Stripe-Signature": signature} if signature else {}),
            },
        )
        return connection.getresponse().status
    finally:
        connection.close()


def _subject(intent: Intent, event_type: EventType, refund_id: str | None) -> dict[str, Any]:
    if event_type.startswith("payment_intent."):
        return bodies.payment_intent(intent)
    refunds = [refund.id for refund in intent.refunds if refund_id in {None, refund.id}]
    if not refunds:
        raise ValueError(
            f"{intent.id} has no refund {refund_id}" if refund_id else f"nothing of {intent.id} was refunded"
        )
    if event_type is EventType.CHARGE_REFUNDED:
        return bodies.charge(intent, next(charge for charge in intent.charges if charge.refunds))
    return bodies.refund(intent, refunds[-1])
