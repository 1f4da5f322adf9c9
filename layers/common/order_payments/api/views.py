"""Bodies of requests and responses: camelCase, money in minor units, times in RFC 3339.

Each body of the contract has one model, which is built from a domain object.
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
    """Base of request bodies. Unknown fields are refused, so that a typo is reported."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class View(BaseModel):
    """Base of response bodies: `snake_case` in Python, `camelCase` in JSON."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=False,
        extra="forbid",
        frozen=True,
        # A function returns only some of the views, so validators are built on first use.
        defer_build=True,
    )

    @classmethod
    def of(cls, shown: Any) -> Self:
        """Return the view of a domain object, whose attributes have the names of the fields."""
        return cls.model_validate(shown, from_attributes=True)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `json.dumps`."""
        return self.model_dump(mode="json", by_alias=True)


class ReasonView(View):
    """Reason for a cancellation, from Stripe if Stripe caused it, or an admin's reason for settling the order."""

    code: str = Field(examples=["card_declined"])
    decline_code: str | None = Field(examples=["insufficient_funds"])
    message: str = Field(examples=["Your card has insufficient funds."])


class OrderStatusView(View):
    """Status of an order."""

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
    # Not required in the schemas, because archived events lack it.
    expires_at: Time | None = Field(
        default=None,
        exclude_if=lambda time: time is None,
        description="Time from which the order cannot be paid. Absent if an earlier release placed the order.",
        examples=["2026-11-26T05:50:20.090Z"],
    )
    refunded_amount: int | None = Field(
        default=None,
        exclude_if=lambda amount: amount is None,
        description="The amount that was refunded or is being refunded. Absent until a refund is sent.",
        examples=[1000],
    )


class OrderLineView(View):
    """A line of an order. `unitPrice` is the product's price when the order was placed."""

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
    """A page of orders. `cursor` requests the next page; it is null on the last page."""

    orders: list[OrderView]
    cursor: str | None


class ProductView(View):
    """A product. Payments hold `reserved` units of `stock`; the other units are `available`."""

    product_id: str = Field(examples=["green-tea"])
    name: str = Field(examples=["Green tea"])
    unit_price: int = Field(examples=[4599])
    currency: str = Field(examples=["usd"])
    stock: int = Field(examples=[25])
    reserved: int = Field(examples=[2])
    available: int = Field(examples=[23])


class ProductsView(View):
    """A page of products. `cursor` requests the next page; it is null on the last page."""

    products: list[ProductView]
    cursor: str | None


class FaultView(View):
    """A fault of a request: its location, as a path into the request, and a message."""

    location: list[str | int]
    message: str


class ProblemView(View):
    """An error in the form of RFC 9457, with a stable `code` for programs."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[FaultView] | None = None
    order: OrderStatusView | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without `errors` and `order` if there are none."""
        return self.model_dump(
            mode="json", by_alias=True, exclude={n for n in ("errors", "order") if getattr(self, n) is None}
        )
