"""The test cards: Stripe's own, and fault tokens for failures that Stripe cannot produce on request.

Cards and their outcomes: https://docs.stripe.com/testing and https://docs.stripe.com/declines/codes.
"""

from enum import StrEnum
from typing import Final, NamedTuple


class Fault(StrEnum):
    """Effect of a fault token on each request that charges it."""

    TIMEOUT_AFTER_CHARGE = "timeout_after_charge"  # charges, but no response to a confirmation arrives
    TIMEOUT_BEFORE_CHARGE = "timeout_before_charge"  # does nothing, and no response arrives
    API_ERROR = "api_error"  # does nothing, HTTP 500
    RATE_LIMITED = "rate_limited"  # does nothing, HTTP 429
    PROCESSING = "processing"  # the charge is pending for `PROCESSING_SECONDS`, then succeeds
    SLOW = "slow"  # charges, and the response is slow


class RefundBehavior(StrEnum):
    """The course of a charge's refunds. Without it, a refund is `succeeded` at once and stays so."""

    PENDING = "pending"  # begins `pending`, later `succeeded`
    FAILS_LATER = "fails_later"  # begins `succeeded`, later `failed`
    DISPUTED = "disputed"  # the charge is disputed, so a refund is refused


class Decline(NamedTuple):
    """A declined charge: the fields of Stripe's `card_error`."""

    code: str
    decline_code: str | None
    advice_code: str | None
    message: str
    param: str | None = None


class PaymentMethod(NamedTuple):
    """A test card. A charge succeeds unless `decline`, `requires_action` or `fault` is set.

    `label` is its display name. `refund_behavior` applies to the refunds of its charges.
    """

    token: str
    label: str
    brand: str
    last4: str
    funding: str = "credit"
    decline: Decline | None = None
    requires_action: bool = False
    fault: Fault | None = None
    refund_behavior: RefundBehavior | None = None


AUTHENTICATION_REQUIRED: Final = Decline(
    "authentication_required",
    "authentication_required",
    "try_again_later",
    "Your card was declined. This transaction requires authentication.",
)
"""The decline of a card that requires 3-D Secure while the customer is absent (`off_session`)."""

AUTHENTICATION_NOT_HANDLED: Final = Decline(
    "authentication_required",
    "authentication_not_handled",
    None,
    "This payment required an authentication action to complete, but `error_on_requires_action` was set. When you're"
    " ready, you can upgrade your integration to handle actions at"
    " https://stripe.com/docs/payments/payment-intents/upgrade-to-handle-actions.",
)
"""The failure of a card that requires 3-D Secure if the caller cannot offer it.

https://docs.stripe.com/payments/without-card-authentication
"""

_DECLINED = "Your card was declined."

CARDS: Final = (
    PaymentMethod("pm_card_visa", "Visa", "visa", "4242"),
    PaymentMethod("pm_card_visa_debit", "Visa debit", "visa", "5556", "debit"),
    PaymentMethod("pm_card_mastercard", "Mastercard", "mastercard", "4444"),
    PaymentMethod("pm_card_mastercard_debit", "Mastercard debit", "mastercard", "3222", "debit"),
    PaymentMethod("pm_card_mastercard_prepaid", "Mastercard prepaid", "mastercard", "5100", "prepaid"),
    PaymentMethod("pm_card_amex", "American Express", "amex", "0005"),
    PaymentMethod("pm_card_discover", "Discover", "discover", "1117"),
    PaymentMethod("pm_card_diners", "Diners Club", "diners", "0004"),
    PaymentMethod("pm_card_jcb", "JCB", "jcb", "0505"),
    PaymentMethod("pm_card_unionpay", "UnionPay", "unionpay", "0005"),
    PaymentMethod(
        "pm_card_visa_chargeDeclined",
        "Declined",
        "visa",
        "0002",
        decline=Decline("card_declined", "generic_decline", "try_again_later", _DECLINED),
    ),
    PaymentMethod(
        "pm_card_visa_chargeDeclinedInsufficientFunds",
        "Insufficient funds",
        "visa",
        "9995",
        decline=Decline("card_declined", "insufficient_funds", "try_again_later", "Your card has insufficient funds."),
    ),
    PaymentMethod(
        "pm_card_visa_chargeDeclinedLostCard",
        "Lost card",
        "visa",
        "9987",
        decline=Decline("card_declined", "lost_card", "do_not_try_again", _DECLINED),
    ),
    PaymentMethod(
        "pm_card_visa_chargeDeclinedStolenCard",
        "Stolen card",
        "visa",
        "9979",
        decline=Decline("card_declined", "stolen_card", "do_not_try_again", _DECLINED),
    ),
    PaymentMethod(
        "pm_card_chargeDeclinedExpiredCard",
        "Expired card",
        "visa",
        "0069",
        decline=Decline("expired_card", "expired_card", "confirm_card_data", "Your card has expired.", "exp_month"),
    ),
    PaymentMethod(
        "pm_card_chargeDeclinedIncorrectCvc",
        "Wrong CVC",
        "visa",
        "0127",
        decline=Decline(
            "incorrect_cvc", "incorrect_cvc", "confirm_card_data", "Your card's security code is incorrect.", "cvc"
        ),
    ),
    PaymentMethod(
        "pm_card_chargeDeclinedProcessingError",
        "Processing error",
        "visa",
        "0119",
        decline=Decline(
            "processing_error",
            "processing_error",
            "try_again_later",
            "An error occurred while processing your card. Try again in a little bit.",
        ),
    ),
    PaymentMethod(
        "pm_card_visa_chargeDeclinedVelocityLimitExceeded",
        "Velocity limit exceeded",
        "visa",
        "6975",
        decline=Decline(
            "card_declined",
            "card_velocity_exceeded",
            "try_again_later",
            "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
        ),
    ),
    PaymentMethod("pm_card_authenticationRequired", "Requires 3-D Secure", "visa", "3184", requires_action=True),
    PaymentMethod(
        "pm_card_pendingRefund", "Refund is pending first", "visa", "7726", refund_behavior=RefundBehavior.PENDING
    ),
    PaymentMethod(
        "pm_card_refundFail", "Refund fails later", "visa", "5126", refund_behavior=RefundBehavior.FAILS_LATER
    ),
    PaymentMethod(
        "pm_card_createDispute", "Disputed after payment", "visa", "0259", refund_behavior=RefundBehavior.DISPUTED
    ),
    PaymentMethod(
        "pm_dummy_timeout_after_charge", "Timeout after the charge", "visa", "4242", fault=Fault.TIMEOUT_AFTER_CHARGE
    ),
    PaymentMethod(
        "pm_dummy_timeout_before_charge", "Timeout before the charge", "visa", "4242", fault=Fault.TIMEOUT_BEFORE_CHARGE
    ),
    PaymentMethod("pm_dummy_api_error", "Stripe responds 500", "visa", "4242", fault=Fault.API_ERROR),
    PaymentMethod("pm_dummy_rate_limited", "Rate limit (429)", "visa", "4242", fault=Fault.RATE_LIMITED),
    PaymentMethod("pm_dummy_processing", "Slow bank", "visa", "4242", fault=Fault.PROCESSING),
    PaymentMethod("pm_dummy_slow", "Slow Stripe", "visa", "4242", fault=Fault.SLOW),
)
"""All test cards. To add one, add a row: the console, `./shop` and the tests read this table."""


def _spellings(card: PaymentMethod) -> tuple[PaymentMethod, ...]:
    """Return the card under each of its tokens. Stripe's documentation spells some with and without the brand."""
    name = card.token.removeprefix("pm_card_").removeprefix("visa_")
    if card.decline is None and not card.requires_action:
        return (card,)
    return tuple(card._replace(token=f"{prefix}{name}") for prefix in ("pm_card_", "pm_card_visa_"))


PAYMENT_METHODS: Final = {method.token: method for card in CARDS for method in _spellings(card)}
"""Test cards by token, in all spellings."""
