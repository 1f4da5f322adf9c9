"""The PaymentIntent as a state machine: pure functions from an intent and a call's parameters to the next intent.

States and transitions: https://docs.stripe.com/payments/paymentintents/lifecycle.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from dummy_stripe import cards, currencies, refusals
from dummy_stripe.objects import (
    Charge,
    ChargeRefund,
    ChargeStatus,
    Failure,
    Intent,
    RefundStatus,
    Status,
    new_id,
    new_id_of_part,
    new_intent_id,
)

if TYPE_CHECKING:
    from dummy_stripe.parameters import CancelParams, ConfirmParams, CreateParams, RefundParams

PROCESSING_SECONDS: Final = 60
"""Time that an intent paid with `pm_dummy_processing` is `processing` before it is `succeeded`."""

REFUND_CHANGE_SECONDS: Final = 60
"""Time until a refund of `pm_card_pendingRefund` has `succeeded`, or one of `pm_card_refundFail` has `failed`."""

_FAILURE_REASONS: Final = {
    RefundStatus.FAILED: "expired_or_canceled_card",
    RefundStatus.CANCELED: "merchant_request",
}
"""The usual `failure_reason` of each status in which no money is returned."""


def create(params: CreateParams, now: float) -> Intent:
    """Return a new, unconfirmed intent. Raises `Refusal` for an unknown PaymentMethod."""
    if params.payment_method is not None:
        find_payment_method(params.payment_method)
    intent_id = new_intent_id()
    return Intent(
        id=intent_id,
        client_secret=new_id(f"{intent_id}_secret_", 25),
        created=now,
        amount=params.amount,
        currency=params.currency,
        capture_method=params.capture_method,
        confirmation_method=params.confirmation_method,
        metadata=params.metadata,
        payment_method_types=params.payment_method_types,
        allow_redirects=params.allow_redirects,
        description=params.description,
        receipt_email=params.receipt_email,
        statement_descriptor_suffix=params.statement_descriptor_suffix,
        payment_method=params.payment_method,
        status=Status.REQUIRES_PAYMENT_METHOD if params.payment_method is None else Status.REQUIRES_CONFIRMATION,
    )


def confirm(intent: Intent, params: ConfirmParams, now: float) -> Intent:
    """Return the intent after an attempt to pay it. A failure sets `last_failure`; a success clears it.

    Raises `Refusal` in a state that cannot be confirmed, without a PaymentMethod, and without a `return_url` if the
    intent accepts methods that redirect.
    """
    if intent.status is Status.SUCCEEDED:
        raise refusals.unexpected_state(
            intent,
            "You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed.",
        )
    if intent.status in {Status.PROCESSING, Status.CANCELED}:
        raise refusals.unexpected_state(
            intent,
            f"You cannot confirm this PaymentIntent because it has a status of {intent.status}. Only a PaymentIntent"
            " with one of the following statuses may be confirmed: requires_confirmation, requires_payment_method,"
            " requires_action.",
        )
    token = params.payment_method or intent.payment_method
    if token is None:
        raise refusals.unexpected_state(
            intent,
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the"
            " PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a"
            " payment method.",
        )
    if intent.allow_redirects == "always" and params.return_url is None:
        raise refusals.Refusal(
            400,
            "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of"
            " these payment methods might redirect your customer off of your page, you must provide a `return_url`. If"
            " you don't want to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` to"
            " `true` and `automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and"
            " Payment Intents.",
            intent=intent,
        )
    attempted = replace(
        intent,
        payment_method=token,
        capture_method=params.capture_method or intent.capture_method,
        receipt_email=params.receipt_email or intent.receipt_email,
        return_url=params.return_url,
        last_failure=None,
    )
    return _attempt(attempted, find_payment_method(token), params, now)


def cancel(intent: Intent, params: CancelParams, now: float) -> Intent:
    """Return the cancelled intent. Raises `Refusal` if it is paid, processing or already cancelled."""
    if intent.status in {Status.SUCCEEDED, Status.PROCESSING, Status.CANCELED}:
        raise refusals.unexpected_state(
            intent,
            f"You cannot cancel this PaymentIntent because it has a status of {intent.status}. Only a PaymentIntent"
            " with one of the following statuses may be canceled: requires_payment_method, requires_capture,"
            " requires_confirmation, requires_action.",
        )
    return replace(intent, status=Status.CANCELED, canceled_at=now, cancellation_reason=params.cancellation_reason)


def refund(intent: Intent, params: RefundParams, now: float) -> Intent:
    """Return the intent with one more refund, the last one of its paid charge.

    Raises `Refusal` if nothing was charged, the charge is disputed, everything was refunded, or the amount exceeds what
    is left.
    """
    paid = next((charge for charge in intent.charges if charge.status is ChargeStatus.SUCCEEDED), None)
    if paid is None or params.charge not in {None, paid.id}:
        raise refusals.nothing_to_refund(intent)
    if paid.is_disputed:
        raise refusals.charge_disputed(paid.id)
    left = paid.amount - paid.amount_refunded
    if not left:
        raise refusals.already_refunded(paid.id)
    amount = left if params.amount is None else params.amount
    currencies.refuse_fraction(amount, intent.currency)
    if amount > left:
        texts = (currencies.as_short_text(value, intent.currency) for value in (amount, left))
        raise refusals.refund_too_large(*texts)
    is_pending = paid.refund_behavior is cards.RefundBehavior.PENDING
    new_refund = ChargeRefund(
        id=new_id_of_part("re_", intent.id),
        created=now,
        amount=amount,
        reason=params.reason,
        metadata=params.metadata,
        status=RefundStatus.PENDING if is_pending else RefundStatus.SUCCEEDED,
        changes_at=now + REFUND_CHANGE_SECONDS if paid.refund_behavior else None,
    )
    refunded = replace(paid, refunds=(*paid.refunds, new_refund))
    return replace(intent, charges=tuple(refunded if charge is paid else charge for charge in intent.charges))


def end_refund(refund: ChargeRefund, status: RefundStatus, failure_reason: str | None = None) -> ChargeRefund:
    """Return the refund in its final status. Raises `ValueError` if it already failed or was canceled."""
    if not refund.returns_money or status is RefundStatus.PENDING:
        raise ValueError(f"{refund.id} is {refund.status} and cannot become {status}")
    ended = replace(refund, status=status, changes_at=None)
    if ended.returns_money:
        return ended
    return replace(ended, failure_reason=failure_reason or _FAILURE_REASONS[status])


def replace_refund(intent: Intent, changed: ChargeRefund) -> Intent:
    """Return the intent with `changed` in the place of the refund with its id."""
    charges = (
        replace(charge, refunds=tuple(changed if refund.id == changed.id else refund for refund in charge.refunds))
        for charge in intent.charges
    )
    return replace(intent, charges=tuple(charges))


def apply_due_changes(intent: Intent, now: float) -> Intent:
    """Return the intent in its state at `now`; the same object if no change is due.

    A payment has succeeded if it was `processing` for `PROCESSING_SECONDS`. A refund has changed at its `changes_at`.
    """
    if intent.settles_at is not None and now >= intent.settles_at:
        *earlier, pending = intent.charges
        paid = replace(pending, status=ChargeStatus.SUCCEEDED)
        intent = replace(intent, status=Status.SUCCEEDED, charges=(*earlier, paid), settles_at=None)
    for refund in intent.refunds:
        if refund.changes_at is not None and now >= refund.changes_at:
            is_pending = refund.status is RefundStatus.PENDING
            status = RefundStatus.SUCCEEDED if is_pending else RefundStatus.FAILED
            intent = replace_refund(intent, end_refund(refund, status))
    return intent


def find_payment_method(token: str) -> cards.PaymentMethod:
    """Return a token's PaymentMethod. Raises `Refusal` for an unknown token."""
    method = cards.PAYMENT_METHODS.get(token)
    if method is None:
        raise refusals.no_such_payment_method(token)
    return method


def _attempt(intent: Intent, method: cards.PaymentMethod, params: ConfirmParams, now: float) -> Intent:
    if method.requires_action:
        if params.off_session:
            return _declined(intent, cards.AUTHENTICATION_REQUIRED, now)
        if params.error_on_requires_action:
            return _failed(intent, cards.AUTHENTICATION_NOT_HANDLED, charge=None)
        return replace(intent, status=Status.REQUIRES_ACTION)
    if method.decline is not None:
        return _declined(intent, method.decline, now)
    if method.fault is cards.Fault.PROCESSING:
        pending = _new_charge(intent, ChargeStatus.PENDING, now)
        return replace(
            intent,
            status=Status.PROCESSING,
            charges=(*intent.charges, pending),
            settles_at=now + PROCESSING_SECONDS,
        )
    paid = replace(_new_charge(intent, ChargeStatus.SUCCEEDED, now), refund_behavior=method.refund_behavior)
    return replace(intent, status=Status.SUCCEEDED, charges=(*intent.charges, paid))


def _declined(intent: Intent, decline: cards.Decline, now: float) -> Intent:
    charge = _new_charge(intent, ChargeStatus.FAILED, now)
    failed = _failed(intent, decline, charge.id)
    return replace(failed, charges=(*intent.charges, replace(charge, failure=failed.last_failure)))


def _failed(intent: Intent, decline: cards.Decline, charge: str | None) -> Intent:
    failure = Failure(
        code=decline.code,
        decline_code=decline.decline_code,
        advice_code=decline.advice_code,
        message=decline.message,
        param=decline.param,
        payment_method=intent.payment_method or "",
        charge=charge,
    )
    # Stripe removes the failed PaymentMethod from the intent, so the next confirmation must name one.
    return replace(intent, status=Status.REQUIRES_PAYMENT_METHOD, payment_method=None, last_failure=failure)


def _new_charge(intent: Intent, status: ChargeStatus, now: float) -> Charge:
    return Charge(
        id=new_id_of_part("ch_", intent.id),
        created=now,
        payment_intent=intent.id,
        amount=intent.amount,
        currency=intent.currency,
        status=status,
        payment_method=intent.payment_method or "",
        metadata=intent.metadata,
        description=intent.description,
        receipt_email=intent.receipt_email,
        statement_descriptor_suffix=intent.statement_descriptor_suffix,
    )
