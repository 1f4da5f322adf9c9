"""A product and its stock."""

from dataclasses import dataclass


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
