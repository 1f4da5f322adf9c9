"""Test payment methods by names that are quick to type."""

from command_line.errors import CommandError
from dummy_stripe.cards import PAYMENT_METHODS

_PREFIXES = ("", "pm_", "pm_card_")


def payment_method(name: str) -> str:
    """The token of a test payment method: `visa` is `pm_card_visa`, `dummy_slow` is `pm_dummy_slow`."""
    by_name = {token.lower(): token for token in PAYMENT_METHODS}
    for prefix in _PREFIXES:
        if token := by_name.get(f"{prefix}{name}".lower()):
            return token
    names = sorted({token.removeprefix("pm_").removeprefix("card_") for token in PAYMENT_METHODS})
    raise CommandError(f"There is no test payment method {name!r}. There are:\n  " + "\n  ".join(names))
