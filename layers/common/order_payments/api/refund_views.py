"""Bodies of the responses about refunds. Only the functions that return them load this module."""

from collections.abc import Iterable
from operator import attrgetter
from typing import Literal, Self

from pydantic import Field

from order_payments.api.views import Time, View
from order_payments.domain.orders import Order
from order_payments.domain.refunds import ALREADY_REFUNDED, Refund, RefundKind


class RestockView(View):
    """Units of a product that a refund puts back on the shelf."""

    product_id: str = Field(examples=["green-tea"])
    quantity: int = Field(examples=[1])


def restock_views(units: Iterable[tuple[str, int]]) -> list[RestockView]:
    """Return the views of units by product."""
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
            restock=restock_views(refund.restock),
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
