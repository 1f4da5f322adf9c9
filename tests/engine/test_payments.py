"""Payments without faults on a real transaction engine, which the other engine tests build on."""

import pytest

from order_payments.domain.errors import InsufficientStock, PaymentFailed
from order_payments.domain.orders import Order, OrderStatus
from tests.support.world import World


def test_paid_order_is_confirmed_and_charged_once(world: World) -> None:
    world.add_product("tea", 5)
    order = world.place({"tea": 2})

    paid = world.pay(order)

    assert isinstance(paid, Order)
    assert (paid, paid.status) == (world.read_order(order), OrderStatus.CONFIRMED)
    assert (world.stock("tea"), world.charges_of(order)) == ((3, 3), 1)
    world.check_settled()


def test_declined_card_cancels_order_without_charge(world: World) -> None:
    world.add_product("tea", 5)
    order = world.place({"tea": 2})

    assert isinstance(world.pay(order, "pm_card_chargeDeclined"), PaymentFailed)
    assert (world.stock("tea"), world.charges_of(order)) == ((5, 5), 0)
    world.check_settled()


def test_insufficient_stock_cancels_order_without_charge(world: World) -> None:
    world.add_product("tea", 1)
    order = world.place({"tea": 2})

    assert isinstance(world.pay(order), InsufficientStock)
    world.check_settled()


@pytest.mark.parametrize(
    ("card", "end"),
    [
        ("pm_dummy_timeout_after_charge", OrderStatus.CONFIRMED),
        ("pm_dummy_timeout_before_charge", OrderStatus.CANCELLED),
        ("pm_dummy_api_error", OrderStatus.CANCELLED),
    ],
)
def test_reconciler_settles_payment_with_unknown_outcome(world: World, card: str, end: OrderStatus) -> None:
    world.add_product("tea", 5)
    order = world.place({"tea": 2})
    world.pay(order, card)
    world.check_invariants()
    assert world.read_order(order).status is OrderStatus.PENDING

    world.reconcile()

    assert world.read_order(order).status is end
    world.check_settled()


@pytest.mark.parametrize("status", [OrderStatus.CONFIRMED, OrderStatus.CANCELLED])
def test_override_settles_order_without_charge(world: World, status: OrderStatus) -> None:
    world.add_product("tea", 5)
    order = world.place({"tea": 2})

    settled = world.override(order, status)

    assert isinstance(settled, Order)
    assert (settled, settled.status) == (world.read_order(order), status)
    world.check_settled()
