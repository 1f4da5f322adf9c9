"""A fake Stripe with state: PaymentIntents, refunds, and failures that Stripe cannot produce on request.

The README beside this package shows how to use it. Only `dummy_stripe.http_client` needs the Stripe SDK, and only
`dummy_stripe.dynamodb_store` needs botocore, so neither is imported here.
"""

from dummy_stripe.api import StripeAPI
from dummy_stripe.cards import CARDS, PAYMENT_METHODS, Fault, PaymentMethod, RefundBehavior
from dummy_stripe.control import end_refund, set_refund_behavior
from dummy_stripe.events import EventType, deliver, make_event, sign
from dummy_stripe.objects import Charge, ChargeRefund, ChargeStatus, Intent, RefundStatus
from dummy_stripe.payment_intents import PROCESSING_SECONDS, REFUND_CHANGE_SECONDS
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
    "REFUND_CHANGE_SECONDS",
    "Charge",
    "ChargeRefund",
    "ChargeStatus",
    "EventType",
    "Fault",
    "Intent",
    "MemoryStore",
    "PaymentMethod",
    "RefundBehavior",
    "RefundStatus",
    "Store",
    "StoreUnavailable",
    "StripeAPI",
    "deliver",
    "end_refund",
    "make_event",
    "set_refund_behavior",
    "sign",
]
