"""A Stripe without the network: PaymentIntents and refunds as Stripe answers them, and faults that it cannot be made
to have.

    store = MemoryStore()  # or DynamoDBStore(client, table_name)
    client = stripe.StripeClient("sk_test_…", http_client=DummyStripeHTTPClient(store))

A webhook hears of it on request: `deliver(url, event_of(store.intent(id), EventType.…, now), secret)`.

Departures from Stripe: a PaymentMethod keeps its token as its id, cards only, no manual capture, no event unasked.
"""

from order_payments.dummy_stripe.cards import PAYMENT_METHODS, Fault, PaymentMethod
from order_payments.dummy_stripe.dynamodb_store import DynamoDBStore
from order_payments.dummy_stripe.events import EventType, deliver, event_of, sign
from order_payments.dummy_stripe.http_client import SLOW_SECONDS, DummyStripeHTTPClient
from order_payments.dummy_stripe.payment_intents import PROCESSING_SECONDS, Charge, ChargeStatus, Refund
from order_payments.dummy_stripe.stores import (
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
