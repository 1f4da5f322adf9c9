"""Events as Stripe sends them to a webhook: what they say, how they are signed and posted. Sent on request only.

    event = event_of(store.intent("pi_…"), EventType.PAYMENT_INTENT_SUCCEEDED, time.time())
    status = deliver("https://…/webhook", event, "whsec_…")

Stripe may send an event twice, late, or after a newer one; call `deliver` likewise. Forms:
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

API_VERSION: Final = "2026-10-28.endive"
"""The version of Stripe's API whose forms the dummy's objects have."""

DELIVERY_TIMEOUT: Final = 20.0
"""How long a webhook may take to answer, in seconds."""

Event = dict[str, Any]


class EventType(StrEnum):
    PAYMENT_INTENT_CREATED = "payment_intent.created"
    PAYMENT_INTENT_SUCCEEDED = "payment_intent.succeeded"
    PAYMENT_INTENT_PAYMENT_FAILED = "payment_intent.payment_failed"
    PAYMENT_INTENT_CANCELED = "payment_intent.canceled"
    PAYMENT_INTENT_PROCESSING = "payment_intent.processing"
    PAYMENT_INTENT_REQUIRES_ACTION = "payment_intent.requires_action"
    CHARGE_REFUNDED = "charge.refunded"


def event_of(
    intent: Intent,
    event_type: EventType,
    now: float,
    *,
    request_id: str | None = None,
    idempotency_key: str | None = None,
) -> Event:
    """An event about the intent as it is at `now`, in Unix seconds, whether or not that is what `event_type` says.

    `charge.refunded` is about the intent's charge: `ValueError` if nothing of it was refunded. `request_id` and
    `idempotency_key` are of the request that caused the event; Stripe has none for what happens by itself.
    """
    return {
        "id": new_id("evt_3"),
        "object": "event",
        "api_version": API_VERSION,
        "created": int(now),
        "data": {"object": _subject(payment_intents.finish_processing(intent, now), event_type)},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": request_id, "idempotency_key": idempotency_key},
        "type": event_type.value,
    }


def payload_of(event: Event) -> bytes:
    """The event as it goes over the wire."""
    return json.dumps(event, indent=2).encode()


def sign(payload: bytes, secret: str, timestamp: int) -> str:
    """The header `Stripe-Signature` for a payload sent at `timestamp`, in Unix seconds. `secret` begins `whsec_`."""
    signature = hmac.digest(secret.encode(), b"%d.%b" % (timestamp, payload), "sha256").hex()
    return f"t={timestamp},v1={signature}"


def deliver(
    url: str,
    event: Event,
    secret: str,
    *,
    timestamp: int | None = None,
    signature: str | None = None,
    timeout: float = DELIVERY_TIMEOUT,
) -> int:
    """Post an event to a webhook and return the status of its answer; like Stripe, follow no redirect.

    Parameters
    ----------
    timestamp
        When the event was sent, in Unix seconds: now, unless the signature is to be stale.
    signature
        The whole header, where it is not to be the right one; an empty one is not sent at all.

    Raises `OSError` or `http.client.HTTPException` if no response arrives.
    """
    payload = payload_of(event)
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


def _subject(intent: Intent, event_type: EventType) -> dict[str, Any]:
    if event_type is not EventType.CHARGE_REFUNDED:
        return bodies.payment_intent(intent)
    for charge in intent.charges:
        if charge.refunds:
            return bodies.charge(charge)
    raise ValueError(f"nothing of {intent.id} was refunded")
