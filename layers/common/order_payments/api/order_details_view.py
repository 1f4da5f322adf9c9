"""Body of the response with an order's refunds and history."""

from typing import Self

from pydantic import Field

from order_payments.api.refund_views import RefundView, RestockView, restock_views
from order_payments.api.views import OrderView, ReasonView, Time, View
from order_payments.domain.order_history import HistoryEvent, history_of
from order_payments.domain.orders import Order


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
    restockable: list[RestockView] = Field(
        description="Units that refunds can still put back on the shelf. Empty if nothing can be refunded."
    )
    refunds: list[RefundView] = Field(description="The refunds, oldest first.")
    history: list[HistoryEntryView] = Field(description="The events that the order records, oldest first.")

    @classmethod
    def of(cls, order: Order) -> Self:
        """Return the view of an order, its refunds and its history."""
        return cls(
            **dict(OrderView.of(order)),
            refused_attempts=order.refused_attempts,
            refundable_amount=order.refundable_amount,
            restockable=restock_views(
                (product, units)
                for product, units in order.restockable_units().items()
                if order.refundable_amount and units > 0
            ),
            refunds=RefundView.of_all(order),
            history=[HistoryEntryView.of(entry) for entry in history_of(order)],
        )
