"""A product and its stock."""

import re
from dataclasses import dataclass

PRODUCT_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_PRODUCT_ID = re.compile(PRODUCT_ID_PATTERN.removeprefix("^").removesuffix("$"))


def is_product_id(text: str) -> bool:
    """Whether `text` has the form of a product's id; what has not is the id of no product."""
    return _PRODUCT_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Product:
    """A product for sale. `unit_price` is in the minor unit of `currency`.

    `stock` is what is on the shelf and `available` what can still be sold of it: `0 <= available <= stock`.
    """

    product_id: str
    name: str
    unit_price: int
    currency: str
    stock: int
    available: int

    @property
    def reserved(self) -> int:
        """What payments in flight hold."""
        return self.stock - self.available
