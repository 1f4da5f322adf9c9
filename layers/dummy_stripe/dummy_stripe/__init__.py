"""A fake Stripe with state: PaymentIntents, refunds, and failures that Stripe cannot produce on request.

The README beside this package shows how to use it. Only `dummy_stripe.http_client` needs the Stripe SDK, and only
`dummy_stripe.dynamodb_store` needs botocore, so neither is imported here.
"""

from dummy_stripe.api import StripeAPI
from dummy_stripe.cards import CARDS, PAYMENT_METHODS, Fault, PaymentMethod
from dummy_stripe.events import EventType, deliver, make_event, sign
from dummy_stripe.objects import Charge, ChargeRefund, ChargeStatus, Intent
from dummy_stripe.payment_intents import PROCESSING_SECONDS
from dummy_stripe.stores import (
    CLAIM_SECONDS,
    IDEMPOTENCY_SECONDS,
    MemoryStore,
    Store,
    StoreUnavailable,
)

__all__ = [
    "CARDS",
    "CLAIM_SECONDS",
    "IDEMPOTENCY_SECONDS",
    "PAYMENT_METHODS",
    "PROCESSING_SECONDS",
    "Charge",
    "ChargeRefund",
    "ChargeStatus",
    "EventType",
    "Fault",
    "Intent",
    "MemoryStore",
    "PaymentMethod",
    "Store",
    "StoreUnavailable",
    "StripeAPI",
    "deliver",
    "make_event",
    "sign",
]
