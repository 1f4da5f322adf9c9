"""Bodies of requests and responses: camelCase, money in minor units, times in RFC 3339.

Each body of the contract has one model, which is built from a domain object.
"""

from collections.abc import Iterable
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from order_payments.domain.order_history import HistoryEvent, history_of
from order_payments.domain.orders import Order, OrderStatus
from order_payments.domain.refunds import ALREADY_REFUNDED, Refund, RefundKind
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


class RestockView(View):
    """Units of a product that a refund puts back on the shelf."""

    product_id: str = Field(examples=["green-tea"])
    quantity: int = Field(examples=[1])


def _restock_views(units: Iterable[tuple[str, int]]) -> list[RestockView]:
    return [RestockView(product_id=product_id, quantity=quantity) for product_id, quantity in units]


class RefundFailureView(View):
    """Reason for which no money was returned, with Stripe's code."""

    code: str = Field(examples=["charge_disputed"])
    message: str = Field(examples=["The charge is disputed."])


class RefundView(View):
    """A refund. Its `status` changes until it is `succeeded`, and even a `succeeded` refund may become `failed`."""

    refund_id: str = Field(examples=["ref_9f86d081884c7d659a2feaa0c55ad015"])
    order_id: str = Field(examples=["ord_468909abedb74305b37f8bb1ce2b0ce1"])
    kind: RefundKind = Field(
        description="`staff`: an admin requested it. `late_payment`: the service returned a payment that the order did "
        "not need. `external`: it was made at Stripe, for example in the dashboard."
    )
    status: Literal["pending", "succeeded", "failed", "refused"] = Field(
        description="`pending`: on its way to Stripe or to the buyer. `failed`: Stripe could not return the money. "
        "`refused`: Stripe did not accept the refund."
    )
    amount: int = Field(examples=[1000])
    currency: str = Field(examples=["usd"])
    reason: str | None = Field(examples=["One cup was broken."])
    restock: list[RestockView]
    payment_intent_id: str = Field(examples=["pi_3QZgttlL1oo9m95Zj2JM2BMK8"])
    stripe_refund_id: str | None = Field(examples=["re_3QZgttlL1oo9m95Z2P2AoXJL"])
    failure: RefundFailureView | None
    requested_by: str | None = Field(description="User id of the admin.", examples=["ada"])
    created_at: Time = Field(examples=["2026-11-24T09:12:00.512Z"])
    updated_at: Time = Field(examples=["2026-11-24T09:12:01.207Z"])

    @classmethod
    def of_order(cls, order: Order, refund: Refund) -> Self:
        """Return the view of an order's refund. An owed refund is `pending` for the client."""
        return cls(
            refund_id=refund.refund_id,
            order_id=order.order_id,
            kind=refund.kind,
            status="pending" if refund.is_owed else refund.status.value,
            amount=refund.amount,
            currency=order.currency,
            reason=refund.reason,
            restock=_restock_views(refund.restock),
            payment_intent_id=refund.payment_intent_id,
            stripe_refund_id=None if refund.stripe_refund_id == ALREADY_REFUNDED else refund.stripe_refund_id,
            failure=RefundFailureView.of(refund.failure) if refund.failure else None,
            requested_by=refund.by,
            created_at=refund.created_at,
            updated_at=refund.updated_at,
        )

    @classmethod
    def of_all(cls, order: Order) -> list[Self]:
        """Return the views of an order's refunds, oldest first."""
        oldest_first = sorted(order.refunds, key=attrgetter("created_at"))
        return [cls.of_order(order, refund) for refund in oldest_first]


class RefundsView(View):
    """The refunds of an order, oldest first."""

    refunds: list[RefundView]


class HistoryEntryView(View):
    """An event of an order. Values that an event does not have are null."""

    event: HistoryEvent
    at: Time = Field(examples=["2026-11-24T09:12:00.512Z"])
    actor: str | None = Field(
        description="User id of the buyer or the admin who caused the event; null if the service or Stripe did.",
        examples=["ada"],
    )
    request_id: str | None = Field(
        description="API Gateway's id of the request that caused the event.",
        examples=["6f0c2f3e-9a41-4d9c-8b52-000000000011"],
    )
    reason: ReasonView | None = Field(
        description="Reason for a cancellation, an override, a requested refund or an unsuccessful one."
    )
    payment_method_id: str | None = Field(examples=["pm_card_visa"])
    refund_id: str | None = Field(examples=["ref_9f86d081884c7d659a2feaa0c55ad015"])
    amount: int | None = Field(description="Amount of the refund.", examples=[1000])


class OrderDetailsView(OrderView):
    """An order as an admin sees it."""

    refused_attempts: int = Field(
        description="Attempts that Stripe refused without a charge, after which the order could be paid again.",
        examples=[0],
    )
    refundable_amount: int = Field(description="What is left of the charge to refund.", examples=[3599])
    restockable: list[RestockView] = Field(description="Units that refunds can still put back on the shelf.")
    refunds: list[RefundView] = Field(description="The refunds, oldest first.")
    history: list[HistoryEntryView] = Field(description="The events that the order records, oldest first.")

    @classmethod
    def of(cls, order: Order) -> Self:
        """Return the view of an order, its refunds and its history."""
        return cls(
            **dict(OrderView.of(order)),
            refused_attempts=order.refused_attempts,
            refundable_amount=order.refundable_amount,
            restockable=_restock_views(
                (product, units) for product, units in order.restockable_units().items() if units > 0
            ),
            refunds=RefundView.of_all(order),
            history=[HistoryEntryView.of(entry) for entry in history_of(order)],
        )


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
