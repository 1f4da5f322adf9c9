"""Generated orders are like those of the service."""

import json

from bench.filling import ORDERS_PER_BUYER, PaidOrder, generate_items
from bench.growth import format_power_of_ten
from order_payments.domain.orders import is_order_id
from order_payments.storage.dynamodb import to_wire
from order_payments.storage.order_records import order_to_item

NUMBERS = (0, 1, 99, 100, 12_345, 259_200, 999_999)


def test_generated_items_are_those_that_the_service_writes() -> None:
    for number, text in zip(NUMBERS, generate_items(NUMBERS, "green-tea"), strict=True):
        assert json.loads(text) == to_wire(order_to_item(PaidOrder(number).order("green-tea")))


def test_orders_have_unique_ids_and_are_shared_out_to_buyers() -> None:
    orders = [PaidOrder(number) for number in range(3 * ORDERS_PER_BUYER)]
    assert all(is_order_id(order.order_id) for order in orders)
    assert len({order.order_id for order in orders}) == len(orders)
    assert len({order.buyer for order in orders}) == 3


def test_sizes_are_formatted_as_powers_of_ten() -> None:
    assert [format_power_of_ten(number) for number in (100, 10**4, 10**6)] == ["10²", "10⁴", "10⁶"]
