"""Placing of orders: current product prices, one currency, a chargeable total, one order per idempotency key."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from order_payments.domain.errors import (
    IdempotencyKeyReused,
    InvalidRequest,
    MixedCurrencies,
    OrderNotFound,
    UnknownProduct,
)
from order_payments.domain.money import as_text, charge_fault
from order_payments.domain.orders import MAXIMUM_PRODUCTS, Order, OrderLine, order_id_for
from order_payments.runtime.clock import utc_now
from order_payments.runtime.observability import logger
from order_payments.storage.orders_table import OrdersTable
from order_payments.storage.products_table import ProductsTable

MAXIMUM_LINES = 100
MAXIMUM_QUANTITY = 10_000
"""Units in one line of an order."""


class OrderedItem(NamedTuple):
    """A product and the units of it that a buyer orders."""

    product_id: str
    quantity: int


@dataclass(frozen=True, slots=True)
class PlaceOrderRequest:
    """A buyer's request for an order. The client's `idempotency_key` makes a repeated request return the same order."""

    buyer_id: str
    items: Sequence[OrderedItem]
    request_id: str
    idempotency_key: str | None = None

    @property
    def fingerprint(self) -> str | None:
        """Digest of the items, stored with an idempotency key. It must not change between releases."""
        if self.idempotency_key is None:
            return None
        body = {"items": [item._asdict() for item in self.items]}
        return hashlib.sha256(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


class PlacedOrder(NamedTuple):
    """The order as recorded. `replayed` is true if an earlier request placed it."""

    order: Order
    replayed: bool


def place_order(
    request: PlaceOrderRequest, *, valid_for: timedelta, orders: OrdersTable, products: ProductsTable
) -> PlacedOrder:
    """Record a pending order at the products' current prices. It holds no stock and does not check it.

    The order cannot be paid once `valid_for` has passed.

    Raises
    ------
    InvalidRequest, UnknownProduct, MixedCurrencies
        The items do not make a valid order.
    IdempotencyKeyReused
        Another request placed an order under this key.
    Busy
        The database does not respond.
    """
    order_id = order_id_for(request.buyer_id, request.idempotency_key) if request.idempotency_key else None
    placed = find_placed(order_id, request, orders) if order_id else None
    if placed is not None:
        return PlacedOrder(placed, replayed=True)
    lines, currency = price_items(request.items, products)
    now = utc_now()
    order = Order.place(
        request.buyer_id,
        lines,
        currency,
        now,
        expires_at=now + valid_for,
        order_id=order_id,
        request_id=request.request_id,
        request_fingerprint=request.fingerprint,
    )
    if fault := charge_fault(order.total_amount, order.currency):
        total = as_text(order.total_amount, order.currency)
        raise InvalidRequest(f"The order's total is {total}. {fault}", field="items")
    recorded = orders.create(order)
    # A concurrent request with the same key may have been first.
    check_same_request(recorded, request)
    if recorded.request_id != order.request_id:
        return PlacedOrder(recorded, replayed=True)
    logger.info("order created", orderId=order.order_id)
    return PlacedOrder(recorded, replayed=False)


def find_placed(order_id: str, request: PlaceOrderRequest, orders: OrdersTable) -> Order | None:
    """Return the order that the same request placed earlier, if any. Raises `IdempotencyKeyReused`."""
    try:
        order = orders.get(order_id)
    except OrderNotFound:
        return None
    check_same_request(order, request)
    return order


def check_same_request(order: Order, request: PlaceOrderRequest) -> None:
    """Raise `IdempotencyKeyReused` unless `request` asks for the items that `order` was placed with."""
    if order.request_fingerprint != request.fingerprint:
        raise IdempotencyKeyReused("This idempotency key was used for another order. Use a new key.")


def price_items(items: Sequence[OrderedItem], products: ProductsTable) -> tuple[list[OrderLine], str]:
    """Return the order lines for `items` at the products' current prices, and their currency."""
    wanted = {item.product_id for item in items}
    if len(wanted) > MAXIMUM_PRODUCTS:
        raise InvalidRequest(f"An order can have at most {MAXIMUM_PRODUCTS} different products.", field="items")
    found = products.get_many(wanted)
    if unknown := [(line, item.product_id) for line, item in enumerate(items) if item.product_id not in found]:
        raise UnknownProduct(unknown)
    currencies = {product.currency for product in found.values()}
    if len(currencies) > 1:
        raise MixedCurrencies(
            f"An order must have one currency, but these products have {', '.join(sorted(currencies))}."
        )
    lines = [
        OrderLine(item.product_id, found[item.product_id].name, item.quantity, found[item.product_id].unit_price)
        for item in items
    ]
    return lines, currencies.pop()
