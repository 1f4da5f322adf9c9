"""Amounts as Stripe checks them and writes them. The rules of each currency stand in `order_payments.domain.money`."""

from dummy_stripe import refusals
from order_payments.domain.money import TABLE, as_number

_SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}


def refuse_charge(amount: int, currency: str) -> None:
    """Raise `Refusal` if Stripe cannot charge `amount` in `currency`, which is one that Stripe charges in."""
    rules = TABLE[currency]
    if amount < rules.minimum:
        message = f"Amount must be at least {as_text(rules.minimum, currency)}"
        raise refusals.invalid_parameter("amount", message, "amount_too_small")
    if amount > rules.maximum:
        message = f"Amount must be no more than {as_text(rules.maximum, currency)}"
        raise refusals.invalid_parameter("amount", message, "amount_too_large")
    refuse_fraction(amount, currency)


def refuse_fraction(amount: int, currency: str) -> None:
    """Raise `Refusal` if the amount of a charge or a refund is not a multiple of the currency's step.

    Whole units: https://support.stripe.com/questions/deprecation-of-fractional-isk-charges-and-refunds has the code and
    the message. Stripe publishes none for three-decimal currencies; the dummy sends the general code.
    """
    rules = TABLE[currency]
    if amount % rules.step == 0:
        return
    if rules.decimals == 3:
        message = f"Invalid amount. Amounts in {currency.upper()} must be evenly divisible by {rules.step}."
        raise refusals.invalid_parameter("amount", message, "invalid_charge_amount")
    message = (
        f"Invalid amount. Currency {currency.upper()} has become effectively zero-decimal and charged amounts must be"
        f" evenly divisible by {rules.step}. See https://stripe.com/docs/currencies#special-cases for more information."
    )
    raise refusals.invalid_parameter("amount", message, "invalid_charge_amount_no_decimal_compatible")


def as_text(amount: int, currency: str) -> str:
    """Return an amount as most messages have it: `$0.50 usd`, `¥50 jpy`."""
    return f"{as_short_text(amount, currency)} {currency}"


def as_short_text(amount: int, currency: str) -> str:
    """Return an amount as the messages about refunds have it: `$0.50`, `¥50`."""
    return f"{_SYMBOLS.get(currency, '')}{as_number(amount, currency)}"
