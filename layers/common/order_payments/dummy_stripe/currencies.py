"""What Stripe asks of an amount in each currency, and how it writes one.

From https://docs.stripe.com/currencies: zero- and three-decimal currencies, and minimum amounts, in the
minor unit.
"""

_ZERO_DECIMAL = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf".split())
_THREE_DECIMAL = frozenset("bhd jod kwd omr tnd".split())

# Stripe asks the equivalent of $0.50 of all other currencies. The dummy knows no exchange rates and asks 1 of them.
_MINIMUM = {
    "usd": 50,
    "aed": 200,
    "aud": 50,
    "bgn": 100,
    "brl": 50,
    "cad": 50,
    "chf": 50,
    "czk": 1500,
    "dkk": 250,
    "eur": 50,
    "gbp": 30,
    "hkd": 400,
    "hrk": 50,
    "huf": 17500,
    "inr": 50,
    "jpy": 50,
    "mxn": 1000,
    "myr": 200,
    "nok": 300,
    "nzd": 50,
    "pln": 200,
    "ron": 200,
    "sek": 300,
    "sgd": 50,
    "thb": 1000,
}

_SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}


def minimum(currency: str) -> int:
    """The least amount that can be charged in this currency."""
    return _MINIMUM.get(currency, 1)


def as_text(amount: int, currency: str) -> str:
    """An amount as Stripe writes it in most messages: `$0.50 usd`, `¥50 jpy`."""
    return f"{as_short_text(amount, currency)} {currency}"


def as_short_text(amount: int, currency: str) -> str:
    """An amount as Stripe writes it in messages about refunds: `$0.50`, `¥50`."""
    return f"{_SYMBOLS.get(currency, '')}{as_number(amount, currency)}"


def as_number(amount: int, currency: str) -> str:
    """An amount in the currency's major unit, with its decimals: `0.50` of usd, `50` of jpy, `0.050` of kwd."""
    if currency in _ZERO_DECIMAL:
        return f"{amount:,}"
    decimals = 3 if currency in _THREE_DECIMAL else 2
    major, minor = divmod(amount, 10**decimals)
    return f"{major:,}.{minor:0{decimals}}"
