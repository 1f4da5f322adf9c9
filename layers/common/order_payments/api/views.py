"""Bodies of requests and answers: camelCase, money in minor units, times in RFC 3339.

One model for each body of the contract; each is made from the domain object that it shows.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from order_payments.domain.orders import Order, OrderStatus
from order_payments.runtime.clock import rfc3339


def _as_text(moment: datetime | str) -> str:
    return rfc3339(moment) if isinstance(moment, datetime) else moment


Time = Annotated[str, BeforeValidator(_as_text), Field(json_schema_extra={"format": "date-time"})]


class RequestBody(BaseModel):
    """What a client sends. A field that it does not name is refused, so that a typo never silently does nothing."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class View(BaseModel):
    """What a client gets: `snake_case` in Python, `camelCase` in JSON."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=False,
        extra="forbid",
        frozen=True,
        # A function shows some of the views, and builds those alone.
        defer_build=True,
    )

    @classmethod
    def of(cls, shown: Any) -> Self:
        """Return the view of a domain object, whose attributes are named as the fields."""
        return cls.model_validate(shown, from_attributes=True)

    def to_json(self) -> dict[str, Any]:
        """As plain values, ready for `json.dumps`."""
        return self.model_dump(mode="json", by_alias=True)


class ReasonView(View):
    """Why an order is cancelled, in Stripe's words where Stripe said so, or why an admin settled it."""

    code: str = Field(examples=["card_declined"])
    decline_code: str | None = Field(examples=["insufficient_funds"])
    message: str = Field(examples=["Your card has insufficient funds."])


class OrderStatusView(View):
    """How an order stands."""

    order_id: str = Field(examples=["ord_468909abedb74305b37f8bb1ce2b0ce1"])
    status: OrderStatus
    total_amount: int = Field(examples=[9198])
    currency: str = Field(examples=["usd"])
    payment_method: Literal["stripe-dummy"]
    buyer_id: str = Field(examples=["alice"])
    payment_intent_id: str | None = Field(examples=["pi_3QZgttlL1oo9m95Zj2JM2BMK8"])
    reason: ReasonView | None
    created_at: Time = Field(examples=["2026-11-23T05:50:20.090Z"])
    updated_at: Time = Field(examples=["2026-11-23T05:50:20.186Z"])


class OrderLineView(View):
    """A line of an order; `unit_price` is the product's at the time of the order."""

    product_id: str = Field(examples=["green-tea"])
    name: str = Field(examples=["Green tea"])
    quantity: int = Field(examples=[2])
    unit_price: int = Field(examples=[4599])


class OrderView(OrderStatusView):
    """An order: its status object and its lines."""

    items: list[OrderLineView]

    @classmethod
    def of(cls, order: Order) -> Self:
        """Return the view of an order and its lines."""
        return cls(**dict(OrderStatusView.of(order)), items=[OrderLineView.of(line) for line in order.lines])


class OrdersView(View):
    """A page of orders; `cursor` asks for the next one, and is null on the last."""

    orders: list[OrderView]
    cursor: str | None


class ProductView(View):
    """A product: `stock` on the shelf, of which `reserved` is held by payments and `available` can be sold."""

    product_id: str = Field(examples=["green-tea"])
    name: str = Field(examples=["Green tea"])
    unit_price: int = Field(examples=[4599])
    currency: str = Field(examples=["usd"])
    stock: int = Field(examples=[25])
    reserved: int = Field(examples=[2])
    available: int = Field(examples=[23])


class ProductsView(View):
    """A page of products; `cursor` asks for the next one, and is null on the last."""

    products: list[ProductView]
    cursor: str | None


class FaultView(View):
    """One thing wrong with a request: where, as a path into it, and what."""

    location: list[str | int]
    message: str


class ProblemView(View):
    """An error, as RFC 9457 has it, with a stable `code` for programs."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[FaultView] | None = None
    order: OrderStatusView | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values; `errors` and `order` only where there are any."""
        return self.model_dump(
            mode="json", by_alias=True, exclude={n for n in ("errors", "order") if getattr(self, n) is None}
        )
