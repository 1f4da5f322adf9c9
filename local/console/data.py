"""What the console shows that is not in the public API: the run's tokens, and the dummy Stripe's ledger."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from dummy_stripe import Charge, Store
from dummy_stripe.payment_intents import Intent, settle
from local.tokens import TokenIssuer
from order_payments.domain.money import TABLE
from order_payments.runtime.clock import rfc3339

SHOWN_INTENTS = 100
_EXPIRED = timedelta(minutes=-5)


def currencies() -> bytes:
    """Return the module `currencies.js`, which exports the decimals of each currency by its code."""
    return f"export const DECIMALS = {json.dumps({code: rules.decimals for code, rules in TABLE.items()})};\n".encode()


def session(identity: TokenIssuer, users: Mapping[str, tuple[str, tuple[str, ...]]]) -> bytes:
    """Tokens of the run's users, fresh ones: a page may be loaded when those of the start have expired. As JSON."""
    signed = [
        {"name": name, "sub": sub, "roles": roles, "token": identity.token(sub, roles)}
        for name, (sub, roles) in users.items()
    ]
    sub, roles = users["buyer"]
    expired = {"name": "expired", "sub": sub, "roles": roles, "token": identity.token(sub, roles, expires_in=_EXPIRED)}
    return _json({"users": [*signed, expired]})


def ledger(store: Store | None) -> bytes:
    """The newest intents of the dummy Stripe and what each was charged, as JSON; `null` where the Stripe is another."""
    if store is None:
        return _json({"intents": None})
    newest = sorted(store.intents(), key=lambda intent: intent.created, reverse=True)[:SHOWN_INTENTS]
    now = time.time()
    return _json({"intents": [_intent(settle(intent, now)) for intent in newest]})


def _intent(intent: Intent) -> dict[str, Any]:
    return {
        "id": intent.id,
        "orderId": intent.metadata.get("orderId"),
        "buyerId": intent.metadata.get("buyerId"),
        "status": intent.status,
        "amount": intent.amount,
        "currency": intent.currency,
        "createdAt": _time(intent.created),
        "charges": [_charge(charge) for charge in intent.charges],
    }


def _charge(charge: Charge) -> dict[str, Any]:
    return {
        "id": charge.id,
        "status": charge.status,
        "amount": charge.amount,
        "amountRefunded": charge.amount_refunded,
        "paymentMethod": charge.payment_method,
        "failureCode": charge.failure and (charge.failure.decline_code or charge.failure.code),
        "createdAt": _time(charge.created),
    }


def _time(seconds: float) -> str:
    return rfc3339(datetime.fromtimestamp(seconds, UTC))


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()
