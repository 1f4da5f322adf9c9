"""What Stripe's answers come to, in words of ours. Apart from the gateway, so that who names one needs no SDK."""

from dataclasses import dataclass

from order_payments.orders import Reason


@dataclass(frozen=True, slots=True)
class Paid:
    """The intent succeeded, with the amount and currency of its order."""


@dataclass(frozen=True, slots=True)
class Declined:
    """The card was declined, or wants an action of the buyer's that we do not offer. The intent is still open."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Refused:
    """Stripe refused the request itself, so that this attempt surely charged nothing. The intent is still open."""

    payment_method_at_fault: bool


@dataclass(frozen=True, slots=True)
class Closed:
    """The intent was cancelled or paid before, by somebody else."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The intent is cancelled: it was not paid and never will be."""


@dataclass(frozen=True, slots=True)
class Open:
    """The intent can still be paid, or cancelled."""


@dataclass(frozen=True, slots=True)
class NoIntent:
    """Stripe has no such intent for this order and its amount."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can say yet. Never to be taken for a decline."""


@dataclass(frozen=True, slots=True)
class NotStarted:
    """Too little time was left to call Stripe, so it was not called."""


@dataclass(frozen=True, slots=True)
class Refunded:
    """The money goes back. `refund_id` is Stripe's."""

    refund_id: str


Confirmation = Paid | Declined | Refused | Closed | Unknown | NotStarted
Fence = Paid | Cancelled | Unknown
State = Fence | Open | NoIntent
