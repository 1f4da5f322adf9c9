"""What Stripe's answers come to, in words of ours. Apart from the gateway, so that who names one needs no SDK."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from order_payments.domain.orders import Reason


class _OutcomeWithoutData:
    """An outcome of which there is no more to say. A dataclass would take a while to make, in every cold start."""

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
    """The card was declined, or wants an action of the buyer's that we do not offer. The intent is still open."""

    reason: Reason


class RefusalCause(StrEnum):
    """The fault that Stripe found in a request."""

    PAYMENT_METHOD = "payment_method"
    AMOUNT = "amount"
    REQUEST = "request"
    ACCESS = "access"
    """The API key, or a permission of the account."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Stripe refused the request itself, so this attempt charged nothing. The intent is still open."""

    cause: RefusalCause


@dataclass(frozen=True, slots=True)
class RateLimited:
    """Stripe's rate limit turned away every try, so this attempt charged nothing. The intent is still open."""

    retry_after_seconds: int


class Closed(_OutcomeWithoutData):
    """The intent was cancelled or paid before, by somebody else."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The intent is cancelled: it was not paid and never will be. `reason` is its last decline, if there was one."""

    reason: Reason | None = None


class ChargeRefunded(_OutcomeWithoutData):
    """The intent was paid and the whole charge was refunded since, for example in Stripe's dashboard."""


class Open(_OutcomeWithoutData):
    """The intent can still be paid, or cancelled."""


class NoIntent(_OutcomeWithoutData):
    """Stripe has no such intent for this order and its amount."""


class Unknown(_OutcomeWithoutData):
    """Nobody can say yet. Never to be taken for a decline."""


class NotStarted(_OutcomeWithoutData):
    """Too little time was left to call Stripe, so it was not called."""


@dataclass(frozen=True, slots=True)
class Refunded:
    """The money goes back. `refund_id` is Stripe's."""

    refund_id: str


ConfirmOutcome = Paid | Declined | Refused | RateLimited | Closed | Unknown | NotStarted
CancelOutcome = Paid | Cancelled | ChargeRefunded | Unknown
IntentState = CancelOutcome | Open | NoIntent


class IntentSummary(NamedTuple):
    """A PaymentIntent as the audit sees it. Amounts are in the minor unit; `charged_at` is only there if it succeeded.

    `unrefunded_amount` is what was charged and not sent back, in whole or in part.
    """

    intent_id: str
    order_id: str | None
    amount: int
    currency: str
    created_at: datetime
    charged_at: datetime | None
    unrefunded_amount: int
