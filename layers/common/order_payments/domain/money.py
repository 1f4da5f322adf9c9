"""Amounts of money, and the table of Stripe's rules for amounts in each currency.

An amount is an integer in the currency's minor unit as Stripe counts it: 4599 is 45.99 USD. This module imports
nothing of the service, so that tools can read the table.

Sources, read as copies on 2026-11-29:

- Minimums, and the step of ISK and UGX: https://docs.stripe.com/currencies in two public copies, one retrieved on
  2026-07-10 and one older that still lists BGN.
- Maximums: the two copies differ. The older one gives each currency its own number of digits; the newer one allows
  twelve digits for most cards. The API reference still says eight digits. The table has the largest amount of the
  older copy, and eight digits for a currency that it does not name.
- Three-decimal currencies: the page as of 2022-12-31. The later copies leave them out.
- Withdrawn currencies: Stripe's support pages about HRK (2023) and BGN (2026). ISO 4217 replaced ANG by XCG, and
  electronic payments in ANG ended on 2025-03-31 (amendment 176).

Rules that depend on the account or the card are not in the table. Stripe converts the amount and compares it with the
minimum of the account's settlement currency, and card networks have lower maximums (American Express: nine digits).
Stripe refuses such amounts itself.
"""

from typing import NamedTuple


class Currency(NamedTuple):
    """The rules for an amount in one currency: a multiple of `step` from `minimum` to `maximum`, in minor units.

    `decimals` is the number of decimals of the minor unit in Stripe's API. `is_charged` is false for a currency that
    Stripe no longer charges; its row remains so that earlier amounts can be displayed.
    """

    code: str
    decimals: int = 2
    step: int = 1
    minimum: int = 1
    maximum: int = 99_999_999
    is_charged: bool = True


TABLE = {
    currency.code: currency
    for currency in (
        # Two decimals and no published minimum.
        *map(
            Currency,
            """
            afn all amd aoa awg azn bam bbd bdt bmd bnd bob bsd bwp byn bzd cdf cny crc cve dop dzd egp etb fjd fkp gel
            gip gmd gtq gyd hnl htg jmd kes kgs khr kyd kzt lak lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mzn nad
            ngn nio npr pab pen pgk pkr qar rsd sar sbd scr shp sle sos srd std szl tjs top try ttd twd tzs uah uyu uzs
            wst xcd xcg yer zmw
            """.split(),
        ),
        *(Currency(code, minimum=50) for code in "ars aud brl cad chf eur ils nzd php rub sgd usd zar".split()),
        *(Currency(code, minimum=200) for code in "aed myr pln ron".split()),
        *(Currency(code, minimum=300) for code in ("nok", "sek")),
        *(Currency(code, minimum=1_000) for code in ("mxn", "thb")),
        Currency("cop", minimum=50, maximum=9_999_999_999),
        Currency("czk", minimum=1_500),
        Currency("dkk", minimum=250),
        Currency("gbp", minimum=30),
        Currency("hkd", minimum=400),
        # Whole units are required of payouts only.
        Currency("huf", minimum=17_500, maximum=9_999_999_999),
        Currency("idr", minimum=50, maximum=999_999_999_999),
        Currency("inr", minimum=50, maximum=999_999_999),
        Currency("lbp", maximum=99_999_999_999),
        # No decimals.
        *(Currency(code, decimals=0) for code in "bif clp djf gnf kmf mga pyg rwf vnd vuv xaf xof xpf".split()),
        Currency("jpy", decimals=0, minimum=50, maximum=9_999_999_999),
        Currency("krw", decimals=0, minimum=50),
        # Three decimals, of which the last must be 0.
        *(
            Currency(code, decimals=3, step=10, minimum=10, maximum=99_999_990)
            for code in ("bhd", "jod", "kwd", "omr", "tnd")
        ),
        # Two decimals, which must be 00. The list of zero-decimal currencies names UGX, too; this rule overrides it.
        *(Currency(code, step=100, minimum=100, maximum=99_999_900) for code in ("isk", "ugx")),
        # Withdrawn.
        *(Currency(code, is_charged=False) for code in ("ang", "bgn", "hrk")),
    )
}
"""The rules of each currency, by its lower-case ISO 4217 code."""

CURRENCIES = frozenset(code for code, currency in TABLE.items() if currency.is_charged)
"""The currencies that Stripe charges in."""

MAXIMUM_AMOUNT = max(currency.maximum for currency in TABLE.values())
"""The largest amount that Stripe charges in any currency."""


def is_currency(code: str) -> bool:
    """Return whether Stripe charges in `code`, a lower-case ISO 4217 code."""
    return code in CURRENCIES


def charge_fault(amount: int, currency: str) -> str | None:
    """Return the rule that a charge of `amount` breaks, as a sentence for the client, or None.

    A fault applies to every account and card. Without a fault Stripe may still refuse: see the module's docstring.
    """
    if is_currency(currency) and amount < TABLE[currency].minimum:
        return f"The smallest amount that can be charged is {as_text(TABLE[currency].minimum, currency)}."
    return price_fault(amount, currency)


def price_fault(amount: int, currency: str) -> str | None:
    """Return the rule that a unit price breaks, or None. It ignores the minimum, which several units can reach."""
    if not is_currency(currency):
        return f"Stripe does not charge in {currency.upper()}."
    rules = TABLE[currency]
    if amount > rules.maximum:
        return f"The largest amount that can be charged is {as_text(rules.maximum, currency)}."
    if amount % rules.step:
        return f"An amount in {currency.upper()} must be a multiple of {as_text(rules.step, currency)}."
    return None


def as_text(amount: int, currency: str) -> str:
    """Return the amount with its currency, for people: `45.99 USD`."""
    return f"{as_number(amount, currency)} {currency.upper()}"


def as_number(amount: int, currency: str) -> str:
    """Return the amount in the major unit with the currency's decimals: `0.50` (USD), `50` (JPY), `0.050` (KWD)."""
    decimals = TABLE[currency].decimals if currency in TABLE else 2
    if not decimals:
        return f"{amount:,}"
    major, minor = divmod(amount, 10**decimals)
    return f"{major:,}.{minor:0{decimals}}"
