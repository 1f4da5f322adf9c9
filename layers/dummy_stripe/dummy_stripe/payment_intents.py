"""The PaymentIntent as a state machine: pure functions from an intent and a call's parameters to the next intent.

States and what each call may do in them: https://docs.stripe.com/payments/paymentintents/lifecycle.
"""

from __future__ import annotations

import json
import secrets
import string
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Self

from dummy_stripe import cards, currencies, refusals

if TYPE_CHECKING:
    from dummy_stripe.parameters import Cancellation, Confirmation, Creation, Refunding

_ALPHABET: Final = string.ascii_letters + string.digits

PROCESSING_SECONDS: Final = 60
"""How long an intent paid with `pm_dummy_processing` stays `processing` before it has `succeeded`."""


class Status(StrEnum):
    REQUIRES_PAYMENT_METHOD = "requires_payment_method"
    REQUIRES_CONFIRMATION = "requires_confirmation"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"


class ChargeStatus(StrEnum):
    SUCCEEDED = "succeeded"
    PENDING = "pending"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The last failed attempt to pay; `charge` is its failed charge, None where none was attempted."""

    code: str
    decline_code: str | None
    advice_code: str | None
    message: str
    param: str | None
    payment_method: str
    charge: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Money given back of a charge, at once. `amount` is in the minor unit, `created` in Unix seconds."""

    id: str
    created: float
    amount: int
    reason: str | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One attempt to move money, as the ledger keeps it, and what of it was given back, oldest first.

    `amount` is in the minor unit, `created` in Unix seconds.
    """

    id: str
    created: float
    payment_intent: str
    amount: int
    currency: str
    status: ChargeStatus
    payment_method: str
    metadata: dict[str, str]
    description: str | None
    receipt_email: str | None
    statement_descriptor_suffix: str | None
    failure: Failure | None = None
    refunds: tuple[Refund, ...] = ()

    @property
    def amount_refunded(self) -> int:
        return sum(refund.amount for refund in self.refunds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A PaymentIntent and its charges, oldest first; at most one of them is not `failed`.

    `version` counts the writes, and is what a store compares to let only one of two rival writes happen.
    `settles_at` is when a `processing` intent will have succeeded. Times are in Unix seconds.
    """

    id: str
    client_secret: str
    created: float
    amount: int
    currency: str
    capture_method: str
    metadata: dict[str, str]
    payment_method_types: tuple[str, ...]
    allow_redirects: str | None
    description: str | None
    receipt_email: str | None
    statement_descriptor_suffix: str | None
    payment_method: str | None
    status: Status
    charges: tuple[Charge, ...] = ()
    last_failure: Failure | None = None
    return_url: str | None = None
    settles_at: float | None = None
    canceled_at: float | None = None
    cancellation_reason: str | None = None
    version: int = 0

    def to_json(self) -> str:
        # `asdict` would copy all that is in it, which takes longer than the rest.
        return json.dumps(self, default=_values, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        values: dict[str, Any] = json.loads(text)
        values["status"] = Status(values["status"])
        values["payment_method_types"] = tuple(values["payment_method_types"])
        values["charges"] = tuple(_charge(charge) for charge in values["charges"])
        values["last_failure"] = _failure(values["last_failure"])
        return cls(**values)


def new_id(prefix: str, length: int = 24) -> str:
    """An id that nobody can guess: `length` letters and digits behind `prefix`, drawn all at once."""
    drawn, letters = secrets.randbelow(len(_ALPHABET) ** length), []
    for _ in range(length):
        drawn, place = divmod(drawn, len(_ALPHABET))
        letters.append(_ALPHABET[place])
    return prefix + "".join(letters)


def create(creation: Creation, now: float) -> Intent:
    """A new, unconfirmed intent. Refused for an unknown PaymentMethod."""
    if creation.payment_method is not None:
        find_payment_method(creation.payment_method)
    intent_id = new_id("pi_3")
    return Intent(
        id=intent_id,
        client_secret=new_id(f"{intent_id}_secret_", 25),
        created=now,
        amount=creation.amount,
        currency=creation.currency,
        capture_method=creation.capture_method,
        metadata=creation.metadata,
        payment_method_types=creation.payment_method_types,
        allow_redirects=creation.allow_redirects,
        description=creation.description,
        receipt_email=creation.receipt_email,
        statement_descriptor_suffix=creation.statement_descriptor_suffix,
        payment_method=creation.payment_method,
        status=Status.REQUIRES_PAYMENT_METHOD if creation.payment_method is None else Status.REQUIRES_CONFIRMATION,
    )


def confirm(intent: Intent, confirmation: Confirmation, now: float) -> Intent:
    """The intent after an attempt to pay it: a failed attempt shows in `last_failure`, a paid one clears it.

    Refused in a state that cannot be confirmed, without a PaymentMethod, and without a `return_url` where the intent
    accepts methods that redirect.
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
    token = confirmation.payment_method or intent.payment_method
    if token is None:
        raise refusals.unexpected_state(
            intent,
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the"
            " PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a"
            " payment method.",
        )
    if intent.allow_redirects == "always" and confirmation.return_url is None:
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
        capture_method=confirmation.capture_method or intent.capture_method,
        receipt_email=confirmation.receipt_email or intent.receipt_email,
        return_url=confirmation.return_url,
        last_failure=None,
    )
    return _attempt(attempted, find_payment_method(token), confirmation, now)


def cancel(intent: Intent, cancellation: Cancellation, now: float) -> Intent:
    """The intent, cancelled: it can never be paid any more. Refused once it is paid, being paid or cancelled."""
    if intent.status in {Status.SUCCEEDED, Status.PROCESSING, Status.CANCELED}:
        raise refusals.unexpected_state(
            intent,
            f"You cannot cancel this PaymentIntent because it has a status of {intent.status}. Only a PaymentIntent"
            " with one of the following statuses may be canceled: requires_payment_method, requires_capture,"
            " requires_confirmation, requires_action.",
        )
    return replace(
        intent, status=Status.CANCELED, canceled_at=now, cancellation_reason=cancellation.cancellation_reason
    )


def refund(intent: Intent, refunding: Refunding, now: float) -> Intent:
    """The intent with one more refund, the last one of its paid charge. It stays as it is otherwise, `succeeded`.

    Refused where nothing was charged, where all of it was given back, and for more than is left.
    """
    paid = next((charge for charge in intent.charges if charge.status is ChargeStatus.SUCCEEDED), None)
    if paid is None or refunding.charge not in {None, paid.id}:
        raise refusals.nothing_to_refund(intent)
    left = paid.amount - paid.amount_refunded
    if not left:
        raise refusals.already_refunded(paid.id)
    amount = left if refunding.amount is None else refunding.amount
    currencies.refuse_fraction(amount, intent.currency)
    if amount > left:
        texts = (currencies.as_short_text(value, intent.currency) for value in (amount, left))
        raise refusals.refund_too_large(*texts)
    given_back = Refund(
        id=new_id("re_3"), created=now, amount=amount, reason=refunding.reason, metadata=refunding.metadata
    )
    refunded = replace(paid, refunds=(*paid.refunds, given_back))
    return replace(intent, charges=tuple(refunded if charge is paid else charge for charge in intent.charges))


def settle(intent: Intent, now: float) -> Intent:
    """The intent as it is by now: one that was `processing` long enough has succeeded."""
    if intent.settles_at is None or now < intent.settles_at:
        return intent
    *earlier, pending = intent.charges
    paid = replace(pending, status=ChargeStatus.SUCCEEDED)
    return replace(intent, status=Status.SUCCEEDED, charges=(*earlier, paid), settles_at=None)


def find_payment_method(token: str) -> cards.PaymentMethod:
    """Refused for a token that the dummy does not know."""
    method = cards.PAYMENT_METHODS.get(token)
    if method is None:
        raise refusals.no_such_payment_method(token)
    return method


def _attempt(intent: Intent, method: cards.PaymentMethod, confirmation: Confirmation, now: float) -> Intent:
    if method.requires_action:
        if confirmation.off_session:
            return _declined(intent, cards.AUTHENTICATION_REQUIRED, now)
        if confirmation.error_on_requires_action:
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
    paid = _new_charge(intent, ChargeStatus.SUCCEEDED, now)
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
    # Stripe takes the failed PaymentMethod off the intent: the next confirmation has to name one.
    return replace(intent, status=Status.REQUIRES_PAYMENT_METHOD, payment_method=None, last_failure=failure)


def _new_charge(intent: Intent, status: ChargeStatus, now: float) -> Charge:
    return Charge(
        id=new_id("ch_3"),
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


def _values(part: Charge | Failure | Refund | Intent) -> dict[str, Any]:
    return {name: getattr(part, name) for name in part.__slots__}


def _charge(values: dict[str, Any]) -> Charge:
    return Charge(
        **{
            **values,
            "status": ChargeStatus(values["status"]),
            "failure": _failure(values["failure"]),
            # A charge that was written before there were refunds has none.
            "refunds": tuple(Refund(**refund) for refund in values.get("refunds", ())),
        },
    )


def _failure(values: dict[str, Any] | None) -> Failure | None:
    return None if values is None else Failure(**values)
