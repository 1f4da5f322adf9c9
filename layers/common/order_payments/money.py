"""Amounts of money: integers in the currency's minor unit (4599 is $45.99), as in Stripe's API."""

# The largest amount Stripe charges at once: eight digits, in every currency that we accept.
# https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
MAXIMUM_CHARGE = 99_999_999

# https://docs.stripe.com/currencies#presentment-currencies
CURRENCIES = frozenset(
    """
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf clp cny
    cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl hrk htg huf idr ils inr isk
    jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn
    nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos srd std
    szl thb tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd vuv wst xaf xcd xof xpf yer zar zmw
    """.split()
)


def is_currency(code: str) -> bool:
    """Whether Stripe charges in `code`, a lower-case ISO 4217 code."""
    return code in CURRENCIES
