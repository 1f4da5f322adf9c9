"""Outcomes of calls to Stripe. This module does not import the Stripe SDK, so that its users need not load it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from order_payments.domain.orders import Reason
from order_payments.domain.refunds import RefundFailure, RefundStatus


class _OutcomeWithoutData:
    """An outcome without data. It is no dataclass, because creating dataclasses slows every cold start."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Paid(_OutcomeWithoutData):
    """The intent succeeded, with the amount and currency of its order."""


@dataclass(frozen=True, slots=True)
class Declined:
    """The card was declined, or requires an authentication that is not supported. The intent is still open."""

    reason: Reason


class RefusalCause(StrEnum):
    """The part of a request that Stripe refused."""

    PAYMENT_METHOD = "payment_method"
    AMOUNT = "amount"
    REQUEST = "request"
    ACCESS = "access"
    """The API key or the account's permissions."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Stripe refused the request itself, so this attempt charged nothing. The intent is still open."""

    cause: RefusalCause


@dataclass(frozen=True, slots=True)
class RateLimited:
    """Every try was rate limited, so this attempt charged nothing. The intent is still open."""

    retry_after_seconds: int


class Closed(_OutcomeWithoutData):
    """The intent was already cancelled or paid by another call."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The intent is cancelled: it was not paid and cannot be paid. `reason` is its last decline, if it has one."""

    reason: Reason | None = None


class ChargeRefunded(_OutcomeWithoutData):
    """The intent was paid, and its charge was refunded in full, for example in Stripe's dashboard."""


class Open(_OutcomeWithoutData):
    """The intent can still be paid or cancelled."""


class NoIntent(_OutcomeWithoutData):
    """Stripe has no such intent for this order and its amount."""


class Unknown(_OutcomeWithoutData):
    """The outcome is not known yet. Do not treat it as a decline."""


class NotStarted(_OutcomeWithoutData):
    """Too little time was left to call Stripe, so it was not called."""


@dataclass(frozen=True, slots=True)
class StripeRefund:
    """A refund as Stripe has it. `amount` is in the minor unit of the charge's currency.

    `order_id` and `refund_id` are the ids that this service stores in the refund's metadata. A refund that was made
    without this service has neither; the refund of a late payment has no `refund_id`.
    """

    stripe_refund_id: str
    payment_intent_id: str
    status: RefundStatus
    amount: int
    created_at: datetime
    failure: RefundFailure | None = None
    order_id: str | None = None
    refund_id: str | None = None


@dataclass(frozen=True, slots=True)
class RefundRefused:
    """Stripe refused the refund, so this request returned no money."""

    failure: RefundFailure


class NoRefund(_OutcomeWithoutData):
    """Stripe has no such refund."""


ConfirmOutcome = Paid | Declined | Refused | RateLimited | Closed | Unknown | NotStarted
CancelOutcome = Paid | Cancelled | ChargeRefunded | Unknown
IntentState = CancelOutcome | Open | NoIntent
RefundOutcome = StripeRefund | RefundRefused | Unknown


class IntentSummary(NamedTuple):
    """A PaymentIntent, as the audit reads it. Amounts are in the minor unit.

    `charged_at` is None unless the intent succeeded. `unrefunded_amount` is the charge less its refunds.
    """

    intent_id: str
    order_id: str | None
    amount: int
    currency: str
    created_at: datetime
    charged_at: datetime | None
    unrefunded_amount: int
