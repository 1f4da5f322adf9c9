"""Amounts as the command line shows them."""

import pytest

from local.shop import money


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (459_900, "usd", "4,599.00 USD"),
        (5, "usd", "0.05 USD"),
        (4599, "jpy", "4,599 JPY"),
        (1_234_560, "kwd", "1,234.560 KWD"),
        (50, "kwd", "0.050 KWD"),
    ],
)
def test_an_amount_has_the_decimals_of_its_currency(amount: int, currency: str, shown: str) -> None:
    assert money(amount, currency) == shown
