"""Short names of test payment methods."""

from command_line.errors import CommandError
from dummy_stripe.cards import PAYMENT_METHODS

_PREFIXES = ("", "pm_", "pm_card_")


def resolve_payment_method(name: str) -> str:
    """Return the token for a short name: `pm_card_visa` for `visa`, `pm_dummy_slow` for `dummy_slow`."""
    by_name = {token.lower(): token for token in PAYMENT_METHODS}
    for prefix in _PREFIXES:
        if token := by_name.get(f"{prefix}{name}".lower()):
            return token
    names = sorted({token.removeprefix("pm_").removeprefix("card_") for token in PAYMENT_METHODS})
    raise CommandError(f"Unknown test payment method {name!r}. Choose one of:\n  " + "\n  ".join(names))
