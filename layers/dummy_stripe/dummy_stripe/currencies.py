"""Currencies that Stripe charges in, with Stripe's checks and texts of amounts.

Minimums, maximums and special cases: https://docs.stripe.com/currencies. A test compares this table with the service's,
whose module names its sources.
"""

from typing import NamedTuple

from dummy_stripe import refusals


class Currency(NamedTuple):
    """A charge is a multiple of `step` from `minimum` to `maximum`, in minor units of `decimals` decimals."""

    minimum: int = 1
    maximum: int = 99_999_999
    step: int = 1
    decimals: int = 2


CURRENCIES = {
    **dict.fromkeys(
        """
        afn all amd aoa awg azn bam bbd bdt bmd bnd bob bsd bwp byn bzd cdf cny crc cve dop dzd egp etb fjd fkp gel
        gip gmd gtq gyd hnl htg jmd kes kgs khr kyd kzt lak lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mzn nad
        ngn nio npr pab pen pgk pkr qar rsd sar sbd scr shp sle sos srd std szl tjs top try ttd twd tzs uah uyu uzs
        wst xcd xcg yer zmw
        """.split(),
        Currency(),
    ),
    "lbp": Currency(maximum=99_999_999_999),
    "gbp": Currency(minimum=30),
    **dict.fromkeys("ars aud brl cad chf eur ils nzd php rub sgd usd zar".split(), Currency(minimum=50)),
    "inr": Currency(minimum=50, maximum=999_999_999),
    "cop": Currency(minimum=50, maximum=9_999_999_999),
    "idr": Currency(minimum=50, maximum=999_999_999_999),
    **dict.fromkeys("aed myr pln ron".split(), Currency(minimum=200)),
    "dkk": Currency(minimum=250),
    **dict.fromkeys("nok sek".split(), Currency(minimum=300)),
    "hkd": Currency(minimum=400),
    **dict.fromkeys("mxn thb".split(), Currency(minimum=1_000)),
    "czk": Currency(minimum=1_500),
    "huf": Currency(minimum=17_500, maximum=9_999_999_999),
    **dict.fromkeys("isk ugx".split(), Currency(minimum=100, maximum=99_999_900, step=100)),
    **dict.fromkeys("bif clp djf gnf kmf mga pyg rwf vnd vuv xaf xof xpf".split(), Currency(decimals=0)),
    "krw": Currency(minimum=50, decimals=0),
    "jpy": Currency(minimum=50, maximum=9_999_999_999, decimals=0),
    **dict.fromkeys("bhd jod kwd omr tnd".split(), Currency(minimum=10, maximum=99_999_990, step=10, decimals=3)),
}
"""Rules by lower-case ISO 4217 code."""

_SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}


def refuse_charge(amount: int, currency: str) -> None:
    """Raise `Refusal` if Stripe cannot charge `amount` in `currency`, which must be supported."""
    rules = _rules(currency)
    if amount < rules.minimum:
        message = f"Amount must be at least {as_text(rules.minimum, currency)}"
        raise refusals.invalid_parameter("amount", message, "amount_too_small")
    if amount > rules.maximum:
        message = f"Amount must be no more than {as_text(rules.maximum, currency)}"
        raise refusals.invalid_parameter("amount", message, "amount_too_large")
    refuse_fraction(amount, currency)


def refuse_fraction(amount: int, currency: str) -> None:
    """Raise `Refusal` if the amount of a charge or a refund is not a multiple of the currency's step.

    Code and message: https://support.stripe.com/questions/deprecation-of-fractional-isk-charges-and-refunds. Stripe
    publishes none for three-decimal currencies, for which the dummy uses the general code.
    """
    rules = _rules(currency)
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
    """Return an amount in the form of most messages: `$0.50 usd`, `¥50 jpy`."""
    return f"{as_short_text(amount, currency)} {currency}"


def as_short_text(amount: int, currency: str) -> str:
    """Return an amount in the form of refund messages: `$0.50`, `¥50`."""
    return f"{_SYMBOLS.get(currency, '')}{_number(amount, _rules(currency).decimals)}"


def _number(amount: int, decimals: int) -> str:
    if not decimals:
        return f"{amount:,}"
    major, minor = divmod(amount, 10**decimals)
    return f"{major:,}.{minor:0{decimals}}"


def _rules(currency: str) -> Currency:
    # A stored intent may have a currency that Stripe no longer supports.
    return CURRENCIES.get(currency, Currency())
