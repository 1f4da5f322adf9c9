"""A Stripe without the network: PaymentIntents and refunds as Stripe answers them, and faults that it cannot be made
to have.

    store = MemoryStore()  # or DynamoDBStore(client, table_name)
    client = stripe.StripeClient("sk_test_…", http_client=DummyStripeHTTPClient(store))

A webhook hears of it on request: `deliver(url, event_of(store.intent(id), EventType.…, now), secret)`.

Departures from Stripe: a PaymentMethod keeps its token as its id, cards only, no manual capture, no event unasked.
"""

from dummy_stripe.cards import PAYMENT_METHODS, Fault, PaymentMethod
from dummy_stripe.dynamodb_store import DynamoDBStore
from dummy_stripe.events import EventType, deliver, event_of, sign
from dummy_stripe.http_client import SLOW_SECONDS, DummyStripeHTTPClient
from dummy_stripe.payment_intents import PROCESSING_SECONDS, Charge, ChargeStatus, Refund
from dummy_stripe.stores import (
    CLAIM_SECONDS,
    IDEMPOTENCY_SECONDS,
    MemoryStore,
    Store,
    StoreUnavailable,
)

__all__ = [
    "CLAIM_SECONDS",
    "IDEMPOTENCY_SECONDS",
    "PAYMENT_METHODS",
    "PROCESSING_SECONDS",
    "SLOW_SECONDS",
    "Charge",
    "ChargeStatus",
    "DummyStripeHTTPClient",
    "DynamoDBStore",
    "EventType",
    "Fault",
    "MemoryStore",
    "PaymentMethod",
    "Refund",
    "Store",
    "StoreUnavailable",
    "deliver",
    "event_of",
    "sign",
]
