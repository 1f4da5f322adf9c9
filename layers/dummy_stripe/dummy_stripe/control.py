"""Changes of refunds on request, for any card. A test or a person makes them; they are not part of Stripe's API.

    set_refund_behavior(store, "pi_…", RefundBehavior.PENDING, now)  # the next refunds begin `pending`
    end_refund(store, "re_…", RefundStatus.FAILED, now)  # this refund fails now

Each call returns the changed intent, as `make_event` needs it. Times are in Unix seconds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dummy_stripe import payment_intents
from dummy_stripe.cards import RefundBehavior
from dummy_stripe.objects import ChargeStatus, RefundStatus
from dummy_stripe.stores import find_intent_of_refund

if TYPE_CHECKING:
    from collections.abc import Callable

    from dummy_stripe.objects import Intent
    from dummy_stripe.stores import Store


def set_refund_behavior(store: Store, intent_id: str, behavior: RefundBehavior | None, now: float) -> Intent:
    """Set the course of the later refunds of a paid intent. None lets them succeed at once.

    `RefundBehavior.DISPUTED` disputes the charge, and its pending refunds fail. Raises `ValueError` if the intent is
    not paid.
    """

    def change(intent: Intent) -> Intent:
        if not any(charge.status is ChargeStatus.SUCCEEDED for charge in intent.charges):
            raise ValueError(f"{intent.id} is not paid")
        charges = (
            replace(charge, refund_behavior=behavior) if charge.status is ChargeStatus.SUCCEEDED else charge
            for charge in intent.charges
        )
        changed = replace(intent, charges=tuple(charges))
        if behavior is not RefundBehavior.DISPUTED:
            return changed
        for refund in intent.refunds:
            if refund.status is RefundStatus.PENDING:
                failed = payment_intents.end_refund(refund, RefundStatus.FAILED, "charge_for_pending_refund_disputed")
                changed = payment_intents.replace_refund(changed, failed)
        return changed

    return _change(store, intent_id, now, change)


def end_refund(
    store: Store, refund_id: str, status: RefundStatus, now: float, failure_reason: str | None = None
) -> Intent:
    """End a refund: `pending` as any other status, `succeeded` as `failed` or `canceled`.

    `failure_reason` is one of Stripe's. The default is `expired_or_canceled_card` for `failed`, and `merchant_request`
    for `canceled`, which is a refund that was canceled in Stripe's dashboard. Raises `ValueError` if there is no such
    refund, or if it has failed or was canceled.
    """

    def change(intent: Intent) -> Intent:
        refund = next(refund for refund in intent.refunds if refund.id == refund_id)
        return payment_intents.replace_refund(intent, payment_intents.end_refund(refund, status, failure_reason))

    intent = find_intent_of_refund(store, refund_id)
    if intent is None:
        raise ValueError(f"no such refund: {refund_id}")
    return _change(store, intent.id, now, change)


def _change(store: Store, intent_id: str, now: float, change: Callable[[Intent], Intent]) -> Intent:
    while (stored := store.intent(intent_id)) is not None:
        changed = replace(change(payment_intents.apply_due_changes(stored, now)), version=stored.version + 1)
        if store.write(changed, None):
            return changed
    raise ValueError(f"no such payment_intent: {intent_id}")
