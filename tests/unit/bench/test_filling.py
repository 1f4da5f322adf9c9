"""Orders by the million are orders like any other."""

import json

from bench.filling import ORDERS_OF_A_BUYER, PaidOrder, item_texts
from bench.growth import power_of_ten
from order_payments.domain.orders import is_order_id
from order_payments.storage.dynamodb import to_wire
from order_payments.storage.order_records import order_to_item

NUMBERS = (0, 1, 99, 100, 12_345, 999_999)


def test_what_is_written_is_what_the_service_would_write() -> None:
    for number, text in zip(NUMBERS, item_texts(NUMBERS, "green-tea"), strict=True):
        assert json.loads(text) == to_wire(order_to_item(PaidOrder(number).order("green-tea")))


def test_orders_have_ids_of_their_own_and_a_buyer_has_as_many_as_said() -> None:
    orders = [PaidOrder(number) for number in range(3 * ORDERS_OF_A_BUYER)]
    assert all(is_order_id(order.order_id) for order in orders)
    assert len({order.order_id for order in orders}) == len(orders)
    assert len({order.buyer for order in orders}) == 3


def test_sizes_are_told_as_powers_of_ten() -> None:
    assert [power_of_ten(number) for number in (100, 10**4, 10**6)] == ["10²", "10⁴", "10⁶"]
