"""The currency table: chargeable amounts and the display of amounts."""

import pytest

from order_payments.domain.money import (
    CURRENCIES,
    TABLE,
    as_text,
    charge_fault,
    is_currency,
    price_fault,
)


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        (50, "usd"),
        (99_999_999, "usd"),
        (30, "gbp"),
        (50, "jpy"),
        (5120, "kwd"),
        (4000, "isk"),
        (5000, "ugx"),
        (17_545, "huf"),
        (80_045, "twd"),
        (150_000_000, "idr"),
        (999_999_999_999, "idr"),
        (999_999_999, "inr"),
        (1, "xcg"),
    ],
)
def test_amount_within_the_limits_of_its_currency_is_chargeable(amount: int, currency: str) -> None:
    assert not charge_fault(amount, currency)
    assert charge_fault(amount, currency) is None


@pytest.mark.parametrize(
    ("amount", "currency", "rule"),
    [
        (10, "usd", "0.50 USD"),
        (0, "xcg", "0.01 XCG"),
        (-50, "usd", "0.50 USD"),
        (49, "jpy", "50 JPY"),
        (100_000_000, "usd", "999,999.99 USD"),
        (1_000_000_000_000, "idr", "9,999,999,999.99 IDR"),
        (5124, "kwd", "0.010 KWD"),
        (4010, "isk", "1.00 ISK"),
        (5050, "ugx", "1.00 UGX"),
        (4599, "bgn", "BGN"),
        (4599, "hrk", "HRK"),
        (4599, "ang", "ANG"),
        (4599, "zzz", "ZZZ"),
    ],
)
def test_amount_outside_the_limits_is_not_chargeable_and_names_the_limit(amount: int, currency: str, rule: str) -> None:
    assert charge_fault(amount, currency)
    assert rule in str(charge_fault(amount, currency))


def test_unit_price_may_be_below_the_minimum_charge() -> None:
    assert price_fault(10, "usd") is None
    assert price_fault(5124, "kwd") is not None


@pytest.mark.parametrize("code", ["ang", "bgn", "hrk", "USD", "", "zzz"])
def test_withdrawn_and_unknown_codes_are_not_currencies(code: str) -> None:
    assert not is_currency(code)


def test_minimum_and_maximum_of_each_currency_are_chargeable() -> None:
    for code in CURRENCIES:
        assert not charge_fault(TABLE[code].minimum, code)
        assert not charge_fault(TABLE[code].maximum, code)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (459_900, "usd", "4,599.00 USD"),
        (5, "usd", "0.05 USD"),
        (4599, "jpy", "4,599 JPY"),
        (1_234_560, "kwd", "1,234.560 KWD"),
        (50, "kwd", "0.050 KWD"),
        (5000, "ugx", "50.00 UGX"),
        (4000, "isk", "40.00 ISK"),
        (4599, "bgn", "45.99 BGN"),
        (4599, "zzz", "45.99 ZZZ"),
    ],
)
def test_amount_is_displayed_with_stripes_decimals(amount: int, currency: str, text: str) -> None:
    assert as_text(amount, currency) == text
