"""The largest order: 99 products, whose payment fills a DynamoDB transaction of 100 items.

The race tests cannot cover it: DynamoDB Local takes at most 10 items in a transaction.
"""

import pytest

from order_payments.domain.orders import MAXIMUM_PRODUCTS
from tests.support.shop import ALICE, Shop, Stock


# moto takes seconds for a transaction of 100 items, which can exceed the request timeout on a busy machine.
@pytest.mark.slow
def test_order_that_fills_a_transaction_is_paid(shop: Shop) -> None:
    products = [f"large-{number:02}" for number in range(MAXIMUM_PRODUCTS)]
    for product in products:
        # Write to the table: the API takes ten times as long.
        shop.write_product(product, name="Green tea", unitPrice=100, currency="usd", stock=3, available=3)
    order = shop.order(*[(product, 2) for product in products])

    reply = shop.pay(order)
    listed = [product for page in shop.pages("products", ALICE, limit=100) for product in page]

    assert (reply.status, reply.body["status"]) == (200, "confirmed")
    assert [each["stock"] for each in listed if each["productId"] in products] == [1] * MAXIMUM_PRODUCTS
    assert shop.stock(products[0]) == Stock(stock=1, reserved=0, available=1)
