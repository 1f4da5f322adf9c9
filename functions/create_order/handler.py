"""`POST /orders`: a buyer places an order. It is `pending`: no stock is held and nothing is charged."""

from order_payments.composition import Components

from http import HTTPStatus
from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from pydantic import Field

from order_payments import place_order
from order_payments.api.parameters import IdempotencyKey
from order_payments.api.resolver import Api
from order_payments.api.responses import REPLAYED_HEADER, success
from order_payments.api.routes import route_of
from order_payments.api.views import OrderView, RequestBody
from order_payments.domain.errors import IdempotencyKeyReused, MixedCurrencies, UnknownProduct
from order_payments.domain.orders import NO_ORDER
from order_payments.runtime.settings import OrderSettings


class ItemRequest(RequestBody):
    """One line of an order."""

    product_id: Annotated[str, Field(min_length=1, max_length=64, examples=["green-tea"])]
    quantity: Annotated[int, Field(strict=True, ge=1, le=place_order.MAXIMUM_QUANTITY, examples=[2])]


class OrderRequest(RequestBody):
    """The lines of an order. Prices come from the products, never from the client."""

    items: Annotated[list[ItemRequest], Field(min_length=1, max_length=place_order.MAXIMUM_LINES)]


order_settings = OrderSettings.from_environment()
components = Components()
orders = components.orders
products = components.products
api = Api(route_of("create_order"), raises=[UnknownProduct, MixedCurrencies, IdempotencyKeyReused])


@api.endpoint(
    status_code=HTTPStatus.CREATED,
    responses={201: success("The placed order, which is `pending`.", "Location", REPLAYED_HEADER)},
)
def create_order(body: OrderRequest, idempotency_key: IdempotencyKey = None) -> Response[OrderView]:
    """Place an order at the products' current prices. A repeated request returns the order placed before."""
    items = [place_order.OrderedItem(item.product_id, item.quantity) for item in body.items]
    placed = place_order.place_order(
        place_order.PlaceOrderRequest(api.caller.user_id, items, api.request_id, idempotency_key),
        valid_for=order_settings.valid_for,
        orders=orders,
        products=products,
    )
    response = Response(
        HTTPStatus.CREATED,
        content_type="application/json",
        body=OrderView.of(placed.order.as_placed()),
        headers={"Location": api.location(f"/orders/{placed.order.order_id}/status")},
    )
    if placed.replayed:
        response.headers[REPLAYED_HEADER] = "true"
    return response


handler = api.resolve
components.finish_start(warm_up=lambda: orders.get(NO_ORDER))
