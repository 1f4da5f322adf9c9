"""Data of the console that the public API does not have: tokens, test cards and the dummy Stripe's ledger."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from dummy_stripe import CARDS, Charge, Fault, PaymentMethod, RefundBehavior, Store
from dummy_stripe.objects import Intent
from dummy_stripe.payment_intents import apply_due_changes
from local.tokens import TokenIssuer
from order_payments.domain.money import TABLE
from order_payments.runtime.clock import rfc3339

MAX_INTENTS = 100
_EXPIRED = timedelta(minutes=-5)
_UNKNOWN_CARD = {"id": "pm_card_unknown", "name": "No such card", "outcome": "not charged, can be paid again"}
_FAULTS: Mapping[Fault, tuple[str, str]] = {
    Fault.TIMEOUT_AFTER_CHARGE: (
        "charged, outcome not reported",
        "Stripe charges the card, but no response arrives. The order stays pending and is confirmed later.",
    ),
    Fault.TIMEOUT_BEFORE_CHARGE: (
        "not charged, outcome not reported",
        "Stripe charges nothing, and no response arrives. The order stays pending and is cancelled later.",
    ),
    Fault.API_ERROR: (
        "not charged, outcome not reported",
        "Stripe charges nothing, but responds 500. The order stays pending and is cancelled later.",
    ),
    Fault.RATE_LIMITED: (
        "not charged, pay again",
        "Stripe's rate limit refuses every try, so nothing is charged. The order stays pending and can be paid again.",
    ),
    Fault.PROCESSING: (
        "charged after a minute, outcome not reported",
        "Stripe reports the charge as processing, and it succeeds. The order stays pending and is confirmed later.",
    ),
    Fault.SLOW: (
        "charged, response after three seconds",
        "Stripe charges the card and responds after three seconds. The order is confirmed at once.",
    ),
}
"""Outcome and note in the console, by fault."""
_REFUNDS: Mapping[RefundBehavior, str] = {
    RefundBehavior.PENDING: "paid; a refund is pending for a minute",
    RefundBehavior.FAILS_LATER: "paid; a refund fails after a minute",
    RefundBehavior.DISPUTED: "paid, then disputed; a refund is refused",
}
"""Outcome in the console, by the course of a refund."""


def currencies() -> bytes:
    """Return the module `currencies.js`, which exports the number of decimals by currency code."""
    return f"export const DECIMALS = {json.dumps({code: rules.decimals for code, rules in TABLE.items()})};\n".encode()


def cards() -> bytes:
    """Return the test cards by group, as JSON."""
    groups: dict[str, list[dict[str, str]]] = {
        "Succeeds": [],
        "Is declined": [],
        "Stripe fails": [],
        "Stripe refuses": [_UNKNOWN_CARD],
    }
    for card in CARDS:
        if card.fault:
            group = "Stripe fails"
        elif card.decline or card.requires_action:
            group = "Is declined"
        else:
            group = "Succeeds"
        groups[group].append({"id": card.token, "name": card.label, **_outcome(card)})
    return _json([{"label": label, "cards": offered} for label, offered in groups.items()])


def _outcome(card: PaymentMethod) -> dict[str, str]:
    if card.fault:
        outcome, note = _FAULTS[card.fault]
        return {"outcome": outcome, "note": note}
    if card.requires_action:
        return {"outcome": "declined: not offered"}
    if card.refund_behavior:
        return {"outcome": _REFUNDS[card.refund_behavior]}
    return {"outcome": (card.decline.decline_code or card.decline.code) if card.decline else "paid"}


def session(identity: TokenIssuer, users: Mapping[str, tuple[str, tuple[str, ...]]]) -> bytes:
    """Return new tokens of the stack's users, as JSON. The first tokens may have expired."""
    signed = [
        {"name": name, "sub": sub, "roles": roles, "token": identity.token(sub, roles)}
        for name, (sub, roles) in users.items()
    ]
    sub, roles = users["buyer"]
    expired = {"name": "expired", "sub": sub, "roles": roles, "token": identity.token(sub, roles, expires_in=_EXPIRED)}
    return _json({"users": [*signed, expired]})


def ledger(store: Store | None) -> bytes:
    """Return the newest intents of the dummy Stripe with their charges, as JSON. `null` without the dummy Stripe."""
    if store is None:
        return _json({"intents": None})
    newest = sorted(store.intents(), key=lambda intent: intent.created, reverse=True)[:MAX_INTENTS]
    now = time.time()
    return _json({"intents": [_intent(apply_due_changes(intent, now)) for intent in newest]})


def _intent(intent: Intent) -> dict[str, Any]:
    return {
        "id": intent.id,
        "orderId": intent.metadata.get("orderId"),
        "buyerId": intent.metadata.get("buyerId"),
        "status": intent.status,
        "amount": intent.amount,
        "currency": intent.currency,
        "createdAt": _format_time(intent.created),
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
        "createdAt": _format_time(charge.created),
    }


def _format_time(seconds: float) -> str:
    return rfc3339(datetime.fromtimestamp(seconds, UTC))


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
