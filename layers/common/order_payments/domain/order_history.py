"""History of an order, derived from what the order records. No write is made for it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from order_payments.domain.orders import UNKNOWN_PAYMENT_METHOD, Order, OrderStatus, Reason
from order_payments.domain.refunds import Refund, RefundKind, RefundStatus


class HistoryEvent(StrEnum):
    """Kind of a history entry."""

    PLACED = "placed"
    PAYMENT_STARTED = "payment_started"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    REFUND_REQUESTED = "refund_requested"
    REFUND_PENDING = "refund_pending"
    REFUND_SUCCEEDED = "refund_succeeded"
    REFUND_FAILED = "refund_failed"
    REFUND_REFUSED = "refund_refused"


_SETTLEMENTS = {OrderStatus.CONFIRMED: HistoryEvent.CONFIRMED, OrderStatus.CANCELLED: HistoryEvent.CANCELLED}
_REFUND_EVENTS = {
    RefundStatus.PENDING: HistoryEvent.REFUND_PENDING,
    RefundStatus.SUCCEEDED: HistoryEvent.REFUND_SUCCEEDED,
    RefundStatus.FAILED: HistoryEvent.REFUND_FAILED,
    RefundStatus.REFUSED: HistoryEvent.REFUND_REFUSED,
}


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """An event of an order.

    `actor` is the user who caused it, or None if this service or Stripe did. `amount` is that of a refund, in the minor
    unit of the order's currency.
    """

    event: HistoryEvent
    at: datetime
    actor: str | None = None
    request_id: str | None = None
    reason: Reason | None = None
    payment_method_id: str | None = None
    refund_id: str | None = None
    amount: int | None = None


def history_of(order: Order) -> list[HistoryEntry]:
    """Return the events of an order, oldest first. A refund shows its request and its current status."""
    entries = [HistoryEntry(HistoryEvent.PLACED, order.created_at, order.buyer_id, order.request_id)]
    if attempt := order.attempt:
        # The service made an attempt of its own for a charge that Stripe reported after the payer's attempt was voided.
        is_payers = attempt.payment_method_id != UNKNOWN_PAYMENT_METHOD
        entries.append(
            HistoryEntry(
                HistoryEvent.PAYMENT_STARTED,
                attempt.started_at,
                order.buyer_id if is_payers else None,
                attempt.request_id,
                payment_method_id=attempt.payment_method_id if is_payers else None,
            )
        )
    if event := _SETTLEMENTS.get(order.status):
        entries.append(_settlement(order, event))
    for refund in order.refunds:
        entries += _refund_entries(refund)
    # Stable: events of the same millisecond keep their order.
    return sorted(entries, key=lambda entry: entry.at)


def _settlement(order: Order, event: HistoryEvent) -> HistoryEntry:
    # Without an attempt, the payer's request cancelled the order, for example because it had expired.
    payer = None if order.attempt else order.buyer_id
    actor = order.override.by if order.override else payer
    # Nothing changes `updated_at` after the settlement.
    return HistoryEntry(event, order.updated_at, actor, order.settling_request_id, order.reason)


def _refund_entries(refund: Refund) -> list[HistoryEntry]:
    entries = []
    if refund.kind is not RefundKind.EXTERNAL:
        reason = Reason("admin_refund", refund.reason) if refund.reason else None
        entries.append(
            HistoryEntry(
                HistoryEvent.REFUND_REQUESTED,
                refund.created_at,
                refund.by,
                refund.request_id,
                reason,
                refund_id=refund.refund_id,
                amount=refund.amount,
            )
        )
    if event := _REFUND_EVENTS.get(refund.status):
        failure = refund.failure
        entries.append(
            HistoryEntry(
                event,
                refund.updated_at,
                reason=Reason(failure.code, failure.message) if failure else None,
                refund_id=refund.refund_id,
                amount=refund.amount,
            )
        )
    return entries
