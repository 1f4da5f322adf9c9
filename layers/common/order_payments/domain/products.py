"""Products and their stock."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from order_payments.domain.money import is_currency, price_fault
from order_payments.domain.text import is_line_of_text

PRODUCT_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_PRODUCT_ID = re.compile(PRODUCT_ID_PATTERN.removeprefix("^").removesuffix("$"))

MAXIMUM_NAME_LENGTH = 200
MAXIMUM_STOCK = 1_000_000_000


def is_product_id(text: str) -> bool:
    """Return whether `text` has the form of a product id."""
    return _PRODUCT_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Product:
    """A product for sale. `unit_price` is in the minor unit of `currency`.

    `stock` is the number of units on the shelf, and `available` the number that can still be sold:
    `0 <= available <= stock`.
    """

    product_id: str
    name: str
    unit_price: int
    currency: str
    stock: int
    available: int

    @property
    def reserved(self) -> int:
        """Units that payments in flight hold."""
        return self.stock - self.available


def faults_in_offer(name: object, unit_price: int | None, currency: object) -> Iterator[str]:
    """Yield the faults of a product's name and price. `unit_price` is None if it is not a whole number."""
    if not is_line_of_text(name, maximum_length=MAXIMUM_NAME_LENGTH):
        yield f"name must be one line of text of at most {MAXIMUM_NAME_LENGTH} characters"
    if unit_price is None or unit_price < 1:
        yield "unitPrice must be a whole number of at least 1"
    if not isinstance(currency, str) or not is_currency(currency):
        yield "currency must be a lower-case ISO 4217 code that Stripe charges in"
    elif unit_price is not None and (fault := price_fault(unit_price, currency)):
        yield f"unitPrice cannot be charged. {fault}"


def faults_in_stock(stock: int, available: int) -> Iterator[str]:
    """Yield the faults of a product's stock figures."""
    if not 0 <= stock <= MAXIMUM_STOCK:
        yield f"stock must be from 0 to {MAXIMUM_STOCK}"
    if not 0 <= available <= stock:
        yield "available must be from 0 to stock"
