"""Products as readable lines."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from local.shop.order_list import clip
from order_payments.domain import money

_GAP = "  "
_HEADING = {"productId": "product", "price": "price", "available": "available", "name": "name"}


def format_products(products: Iterable[Mapping[str, Any]], width: int | None) -> Iterator[Text]:
    """Yield a heading and the products, clipped to `width` columns. `None` clips nothing.

    The product id is the first word of its line, for scripts.
    """
    rows = [
        {
            "productId": product["productId"],
            "price": money.as_text(product["unitPrice"], product["currency"]),
            "available": f"{product['available']:,}",
            "name": product["name"],
        }
        for product in products
    ]
    widths = {name: max(cell_len(row[name]) for row in (_HEADING, *rows)) for name in _HEADING}
    for number, row in enumerate((_HEADING, *rows)):
        cells = (
            f"{row['productId']:<{widths['productId']}}",
            f"{row['price']:>{widths['price']}}",
            f"{row['available']:>{widths['available']}}",
            row["name"],
        )
        yield clip(Text(_GAP.join(cells), style="" if number else "dim"), width)
