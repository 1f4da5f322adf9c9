"""Every PaymentMethod that the dummy knows: Stripe's test cards, and fault tokens for what Stripe cannot be made to do.

Cards and their answers: https://docs.stripe.com/testing and https://docs.stripe.com/declines/codes.
"""

from enum import StrEnum
from typing import Final, NamedTuple


class Fault(StrEnum):
    """What a fault token does to the request that would charge it, every time it is used."""

    TIMEOUT_AFTER_CHARGE = "timeout_after_charge"  # the charge happens, no reply to a confirmation ever arrives
    TIMEOUT_BEFORE_CHARGE = "timeout_before_charge"  # nothing happens, no reply arrives
    API_ERROR = "api_error"  # HTTP 500, nothing happens
    RATE_LIMITED = "rate_limited"  # HTTP 429, nothing happens
    PROCESSING = "processing"  # the charge stays pending for a while, then succeeds
    SLOW = "slow"  # the charge happens, the reply takes a while


class Decline(NamedTuple):
    """Why a charge fails, in the words of Stripe's `card_error`."""

    code: str
    decline_code: str | None
    advice_code: str | None
    message: str
    param: str | None = None


class PaymentMethod(NamedTuple):
    """A card and what happens when it is charged: it succeeds, unless one of the last three says otherwise."""

    token: str
    brand: str
    last4: str
    funding: str = "credit"
    decline: Decline | None = None
    requires_action: bool = False
    fault: Fault | None = None


AUTHENTICATION_REQUIRED: Final = Decline(
    "authentication_required",
    "authentication_required",
    "try_again_later",
    "Your card was declined. This transaction requires authentication.",
)
"""The decline of a card that wants 3-D Secure while the customer is away (`off_session`)."""

AUTHENTICATION_NOT_HANDLED: Final = Decline(
    "authentication_not_handled",
    None,
    None,
    "This payment required an authentication action to complete, but `error_on_requires_action` was set.",
)
"""The failure of a card that wants 3-D Secure where the caller said it cannot offer that."""

_DECLINED = "Your card was declined."

_DECLINES = {
    "chargeDeclined": ("0002", Decline("card_declined", "generic_decline", "try_again_later", _DECLINED)),
    "chargeDeclinedInsufficientFunds": (
        "9995",
        Decline("card_declined", "insufficient_funds", "try_again_later", "Your card has insufficient funds."),
    ),
    "chargeDeclinedLostCard": ("9987", Decline("card_declined", "lost_card", "do_not_try_again", _DECLINED)),
    "chargeDeclinedStolenCard": ("9979", Decline("card_declined", "stolen_card", "do_not_try_again", _DECLINED)),
    "chargeDeclinedExpiredCard": (
        "0069",
        Decline("expired_card", "expired_card", "confirm_card_data", "Your card has expired.", "exp_month"),
    ),
    "chargeDeclinedIncorrectCvc": (
        "0127",
        Decline(
            "incorrect_cvc", "incorrect_cvc", "confirm_card_data", "Your card's security code is incorrect.", "cvc"
        ),
    ),
    "chargeDeclinedProcessingError": (
        "0119",
        Decline(
            "processing_error",
            "processing_error",
            "try_again_later",
            "An error occurred while processing your card. Try again in a little bit.",
        ),
    ),
    "chargeDeclinedVelocityLimitExceeded": (
        "6975",
        Decline(
            "card_declined",
            "card_velocity_exceeded",
            "try_again_later",
            "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
        ),
    ),
}

_SUCCESSES = (
    PaymentMethod("pm_card_visa", "visa", "4242"),
    PaymentMethod("pm_card_visa_debit", "visa", "5556", "debit"),
    PaymentMethod("pm_card_mastercard", "mastercard", "4444"),
    PaymentMethod("pm_card_mastercard_debit", "mastercard", "3222", "debit"),
    PaymentMethod("pm_card_mastercard_prepaid", "mastercard", "5100", "prepaid"),
    PaymentMethod("pm_card_amex", "amex", "0005"),
    PaymentMethod("pm_card_discover", "discover", "1117"),
    PaymentMethod("pm_card_diners", "diners", "0004"),
    PaymentMethod("pm_card_jcb", "jcb", "0505"),
    PaymentMethod("pm_card_unionpay", "unionpay", "0005"),
)

# Stripe's own pages spell the declining tokens sometimes with and sometimes without the brand.
_SPELLINGS = ("pm_card_", "pm_card_visa_")


def _all() -> list[PaymentMethod]:
    declines = [
        PaymentMethod(f"{prefix}{name}", "visa", last4, decline=decline)
        for name, (last4, decline) in _DECLINES.items()
        for prefix in _SPELLINGS
    ]
    actions = [
        PaymentMethod(f"{prefix}authenticationRequired", "visa", "3184", requires_action=True) for prefix in _SPELLINGS
    ]
    faults = [PaymentMethod(f"pm_dummy_{fault}", "visa", "4242", fault=fault) for fault in Fault]
    return [*_SUCCESSES, *declines, *actions, *faults]


PAYMENT_METHODS: Final = {method.token: method for method in _all()}
"""The one table of tokens, by token."""
