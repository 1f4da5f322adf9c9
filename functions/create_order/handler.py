"""`POST /orders`: a buyer places an order. It is `pending`; nothing is held or charged yet."""

from order_payments.composition import Components

import hashlib
from http import HTTPStatus
from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from pydantic import Field

from order_payments.api.parameters import IdempotencyKey
from order_payments.api.resolver import Api
from order_payments.api.responses import REPLAYED_HEADER, success
from order_payments.api.routes import route_of
from order_payments.api.views import OrderView, RequestBody
from order_payments.domain.errors import (
    IdempotencyKeyReused,
    InvalidRequest,
    MixedCurrencies,
    OrderNotFound,
    UnknownProduct,
)
from order_payments.domain.money import as_text, charge_fault
from order_payments.domain.orders import MAXIMUM_PRODUCTS, NO_ORDER, Order, OrderLine, order_id_for
from order_payments.runtime.clock import utc_now
from order_payments.runtime.observability import logger

MAXIMUM_LINES = 100
MAXIMUM_QUANTITY = 10_000


class ItemRequest(RequestBody):
    """One line to order."""

    product_id: Annotated[str, Field(min_length=1, max_length=64, examples=["green-tea"])]
    quantity: Annotated[int, Field(strict=True, ge=1, le=MAXIMUM_QUANTITY, examples=[2])]


class OrderRequest(RequestBody):
    """What to order. Prices are the products', never the client's."""

    items: Annotated[list[ItemRequest], Field(min_length=1, max_length=MAXIMUM_LINES)]


components = Components()
products = components.products
orders = components.orders
api = Api(route_of("create_order"), raises=[UnknownProduct, MixedCurrencies, IdempotencyKeyReused])


@api.endpoint(
    status_code=HTTPStatus.CREATED,
    responses={201: success("The order, `pending`.", "Location", REPLAYED_HEADER)},
)
def create_order(body: OrderRequest, idempotency_key: IdempotencyKey = None) -> Response[OrderView]:
    """Place an order at the products' prices of now; for a repeated request, answer with the one it placed before."""
    buyer_id = api.caller.user_id
    order_id = order_id_for(buyer_id, idempotency_key) if idempotency_key else None
    fingerprint = fingerprint_of(body) if idempotency_key else None
    placed = find_placed(order_id, fingerprint) if order_id else None
    if placed is not None:
        return answer(placed, replayed=True)
    order = place_order(
        buyer_id, body.items, order_id=order_id, request_id=api.request_id, request_fingerprint=fingerprint
    )
    recorded = orders.create(order)
    # Another request with the same key, at the same time, may have been the faster one.
    check_same_request(recorded, fingerprint)
    if recorded.request_id != order.request_id:
        return answer(recorded, replayed=True)
    logger.info("order created", orderId=order.order_id)
    return answer(recorded)


def answer(order: Order, *, replayed: bool = False) -> Response[OrderView]:
    """201 with the order as it was placed."""
    return Response(
        HTTPStatus.CREATED,
        content_type="application/json",
        body=OrderView.of(order.as_placed()),
        headers={
            "Location": api.location(f"/orders/{order.order_id}/status"),
            **({REPLAYED_HEADER: "true"} if replayed else {}),
        },
    )


def find_placed(order_id: str, fingerprint: str | None) -> Order | None:
    """The order that the same request placed before. Raises `IdempotencyKeyReused` where it was another request."""
    try:
        order = orders.get(order_id)
    except OrderNotFound:
        return None
    check_same_request(order, fingerprint)
    return order


def check_same_request(order: Order, fingerprint: str | None) -> None:
    """Raise `IdempotencyKeyReused` unless the request with this fingerprint placed `order`."""
    if order.request_fingerprint != fingerprint:
        raise IdempotencyKeyReused("This idempotency key was used for another order.")


def fingerprint_of(body: OrderRequest) -> str:
    """The same for the same request, however its JSON was written."""
    return hashlib.sha256(body.model_dump_json().encode()).hexdigest()


def place_order(
    buyer_id: str,
    items: list[ItemRequest],
    *,
    order_id: str | None,
    request_id: str,
    request_fingerprint: str | None,
) -> Order:
    """The order for `items`, if their products exist, share a currency, and can be charged and held at once."""
    wanted = {item.product_id for item in items}
    if len(wanted) > MAXIMUM_PRODUCTS:
        raise InvalidRequest(f"An order has at most {MAXIMUM_PRODUCTS} different products.", field="items")
    found = products.get_many(wanted)
    if unknown := [(line, item.product_id) for line, item in enumerate(items) if item.product_id not in found]:
        raise UnknownProduct(unknown)
    currencies = {product.currency for product in found.values()}
    if len(currencies) > 1:
        raise MixedCurrencies(f"An order has one currency; these products have {', '.join(sorted(currencies))}.")
    lines = [
        OrderLine(item.product_id, found[item.product_id].name, item.quantity, found[item.product_id].unit_price)
        for item in items
    ]
    order = Order.place(
        buyer_id,
        lines,
        currencies.pop(),
        utc_now(),
        order_id=order_id,
        request_id=request_id,
        request_fingerprint=request_fingerprint,
    )
    if fault := charge_fault(order.total_amount, order.currency):
        total = as_text(order.total_amount, order.currency)
        raise InvalidRequest(f"The order's total is {total}. {fault}", field="items")
    return order


handler = api.resolve
components.finish_start(rehearsal=lambda: orders.get(NO_ORDER))
