"""Refunds: owe, send, record. What Stripe reports about a refund is recorded, too.

1. Owe: record the refund with the order, and list it for the reconciler. It returns no money yet. The write requires
   that the order's refunds are unchanged since the amount was checked, so concurrent admins cannot refund too much.
2. Send: create the refund at Stripe, under an idempotency key that comes from the refund's id.
3. Record: store Stripe's result. The transaction that records a refund as sent also puts its units back on the shelf.

If the process dies in between, the reconciler looks for the refund at Stripe before it sends it again, because Stripe
forgets an idempotency key after a day. A refund that Stripe refuses, or reports as failed, is final: an admin decides.
A refund that was made without this service is recorded as found at Stripe, because Stripe's ledger wins.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from order_payments.domain import errors
from order_payments.domain.money import price_fault
from order_payments.domain.orders import Order, OrderStatus
from order_payments.domain.refunds import (
    ALREADY_REFUNDED,
    MAXIMUM_REFUND_BYTES,
    Refund,
    RefundFailure,
    RefundKind,
    RefundStatus,
    advance,
    external_refund_id,
    find_late_refund,
    find_refund,
    late_refund_id,
    stored_bytes,
)
from order_payments.runtime import retry_budgets
from order_payments.runtime.clock import Deadline, utc_now
from order_payments.runtime.metric_names import Count
from order_payments.runtime.observability import count, logger
from order_payments.runtime.retry_budgets import retry_until
from order_payments.storage.dynamodb import DYNAMODB_CALL_SECONDS, WriteRejected
from order_payments.storage.orders_table import OrdersTable, RefundsChanged
from order_payments.stripe_adapter import outcomes

if TYPE_CHECKING:
    from order_payments.stripe_adapter.gateway import StripeGateway

TIME_TO_RECORD_SECONDS = retry_budgets.SETTLE_BUDGET_SECONDS + 2 * DYNAMODB_CALL_SECONDS
"""Time reserved after a call to Stripe: to record its result, and to read the order if that write times out."""


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """An admin's request. `amount` is None for all that is left of the charge. `restock` maps products to units."""

    order_id: str
    refund_id: str
    amount: int | None
    reason: str
    restock: tuple[tuple[str, int], ...]
    by: str
    request_id: str

    @property
    def fingerprint(self) -> str:
        """Digest of the request, by which a replay is recognized. It must not change between releases."""
        request = [self.amount, self.reason, sorted(self.restock)]
        return hashlib.sha256(json.dumps(request, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RefundResult:
    """The refund with its order. `replayed` is true if an earlier request recorded it."""

    order: Order
    refund: Refund
    replayed: bool = False


def request_refund(
    request: RefundRequest, *, orders: OrdersTable, stripe: "StripeGateway", deadline: Deadline
) -> RefundResult:
    """Refund a charge in part or in full, once. While Stripe's result is unknown, the refund stays owed.

    Raises
    ------
    OrderNotFound, NotRefundable, RefundTooLarge, InvalidRequest, IdempotencyKeyReused, Busy
        Nothing was changed. `NotRefundable` is also raised if Stripe refused the refund, which is then recorded.
    """
    order = orders.get(request.order_id)
    is_written = False
    for _ in retry_until(deadline.within(retry_budgets.CLAIM_BUDGET_SECONDS)):
        refund = find_refund(order.refunds, request.refund_id)
        # The write may have been made although its response was lost.
        is_own = is_written and refund is not None and refund.request_id == request.request_id
        if refund is not None and not is_own:
            return _replay(order, refund, request)
        if refund is None:
            is_written = True
            refund = _new_refund(order, request)
            try:
                order = orders.owe_refund(order, refund, deadline=_record_by(deadline))
            except RefundsChanged as changed:
                order = changed.order
                continue
        order = send_refund(order, refund, orders=orders, stripe=stripe, deadline=deadline)
        return _require_accepted(RefundResult(order, find_refund(order.refunds, refund.refund_id) or refund))
    raise errors.Busy("Other refunds of this order are in progress. Try again.", order=order)


def refund_late_payment(
    order: Order, intent_id: str, *, orders: OrdersTable, stripe: "StripeGateway", deadline: Deadline
) -> Order:
    """Refund a payment of an order that was settled without it. Returns the order as recorded."""
    for _ in retry_until(_record_by(deadline)):
        refund = find_late_refund(order.refunds, intent_id)
        if refund is not None and not refund.is_owed:
            return order
        if refund is not None:
            return send_refund(order, refund, orders=orders, stripe=stripe, deadline=deadline)
        now = utc_now()
        refund = Refund(
            late_refund_id(intent_id),
            RefundKind.LATE_PAYMENT,
            RefundStatus.OWED,
            intent_id,
            order.total_amount,
            created_at=now,
            updated_at=now,
        )
        try:
            order = orders.owe_refund(order, refund, deadline=_record_by(deadline))
        except RefundsChanged as changed:
            order = changed.order
    raise errors.Busy("Too many concurrent refunds of the order. Try again.")


def send_refund(
    order: Order, refund: Refund, *, orders: OrdersTable, stripe: "StripeGateway", deadline: Deadline
) -> Order:
    """Send an owed refund and record the result.

    Returns the order as recorded. It still owes the refund if the result is unknown, or could not be recorded.
    """
    try:
        match stripe.create_refund(order, refund, deadline=deadline.earlier_by(TIME_TO_RECORD_SECONDS)):
            case outcomes.StripeRefund() as found:
                return record_stripe_refund(order, found, orders=orders, deadline=deadline, sent=refund)
            case outcomes.RefundRefused(failure):
                if failure.code == ALREADY_REFUNDED and refund.kind is RefundKind.LATE_PAYMENT:
                    return _record_earlier_refunds(
                        order, refund, failure, orders=orders, stripe=stripe, deadline=deadline
                    )
                return _record_refusal(order, refund, failure, orders=orders, deadline=deadline)
            case outcomes.Unknown():
                logger.warning("refund outcome unknown", refundId=refund.refund_id)
                return order
    except errors.Busy:
        # Stripe may have the refund, so the caller must not repeat the request. The reconciler records the result.
        logger.warning("refund not recorded: database busy", refundId=refund.refund_id)
        return order
    except WriteRejected as rejected:
        logger.error("refund rejected by dynamodb", refundId=refund.refund_id, error=str(rejected))
        return order


def finish_refunds(order: Order, *, orders: OrdersTable, stripe: "StripeGateway", deadline: Deadline) -> Order:
    """Bring owed and pending refunds closer to their end. Returns the order as recorded.

    An owed refund may be at Stripe already, because the process that sent it died, or its response was lost.
    """
    for refund in order.unfinished_refunds:
        stripe_deadline = deadline.earlier_by(TIME_TO_RECORD_SECONDS)
        if refund.stripe_refund_id is not None:
            found: object = stripe.retrieve_refund(refund.stripe_refund_id, deadline=stripe_deadline)
        else:
            refunds = stripe.list_refunds(refund.payment_intent_id, deadline=stripe_deadline)
            if isinstance(refunds, outcomes.Unknown):
                continue
            found = next((each for each in refunds if _is_same(refund, each)), None)
        if isinstance(found, outcomes.StripeRefund):
            order = record_stripe_refund(order, found, orders=orders, deadline=deadline, sent=refund)
        elif isinstance(found, outcomes.NoRefund):
            logger.error("refund unknown to stripe", orderId=order.order_id, refundId=refund.refund_id)
            count(Count.MISMATCH)
        elif found is None:
            order = send_refund(order, refund, orders=orders, stripe=stripe, deadline=deadline)
    return order


def follow_refund(
    stripe_refund_id: str, *, orders: OrdersTable, stripe: "StripeGateway", deadline: Deadline
) -> Order | None:
    """Read a refund from Stripe and record it. Returns the order, or None if the refund is of no order.

    Raises `OrderNotFound`, and `Busy` if Stripe does not respond or the order is not settled yet.
    """
    stripe_deadline = deadline.earlier_by(TIME_TO_RECORD_SECONDS)
    match stripe.retrieve_refund(stripe_refund_id, deadline=stripe_deadline):
        case outcomes.StripeRefund() as found:
            pass
        case outcomes.NoRefund():
            return None
        case outcomes.Unknown():
            raise errors.Busy("The payment provider did not return the refund. Try again later.")
    order_id = found.order_id
    if order_id is None:
        # It was made without this service. Only the intent names the order.
        try:
            order_id = stripe.retrieve_summary(found.payment_intent_id, deadline=stripe_deadline).order_id
        except errors.PaymentProviderError as error:
            raise errors.Busy("The payment provider did not return the payment. Try again later.") from error
    if order_id is None:
        return None
    order = orders.get(order_id)
    if order.in_flight:
        raise errors.Busy("The order is not settled yet. Send the event again.")
    if order.status is OrderStatus.PENDING:
        return order  # not charged by the service; the intent's event settles it
    return record_stripe_refund(order, found, orders=orders, deadline=deadline)


def record_stripe_refund(
    order: Order,
    found: outcomes.StripeRefund,
    *,
    orders: OrdersTable,
    deadline: Deadline,
    sent: Refund | None = None,
) -> Order:
    """Record what Stripe has of a refund. Returns the order as recorded.

    `sent` is the order's refund that `found` belongs to, if the caller knows. An unknown refund was made without this
    service; it is added if it returned money. Raises `Busy`.
    """

    def update(current: Order) -> Refund | None:
        refund = _find_by_stripe(current, found, sent)
        if refund is None:
            return None if found.status is RefundStatus.FAILED else _external_refund(found)
        if refund.status is found.status or not refund.may_become(found.status):
            return None
        return advance(
            refund,
            found.status,
            now=utc_now(),
            stripe_refund_id=found.stripe_refund_id,
            amount=found.amount,
            failure=found.failure,
        )

    return _record(order, update, orders=orders, deadline=deadline)


def record_all_refunds(
    order: Order, intent_id: str, *, orders: OrdersTable, stripe: "StripeGateway", deadline: Deadline
) -> Order:
    """Record all refunds that Stripe has of an intent's charge. Returns the order as recorded.

    Raises `Busy` if Stripe does not respond.
    """
    refunds = stripe.list_refunds(intent_id, deadline=deadline.earlier_by(TIME_TO_RECORD_SECONDS))
    if isinstance(refunds, outcomes.Unknown):
        raise errors.Busy("The payment provider did not return the refunds. Try again later.")
    for found in reversed(refunds):
        order = record_stripe_refund(order, found, orders=orders, deadline=deadline)
    return order


def _record_refusal(
    order: Order, refund: Refund, failure: RefundFailure, *, orders: OrdersTable, deadline: Deadline
) -> Order:
    """Record that Stripe refused an owed refund, unless another process has recorded its result."""

    def refuse(current: Order) -> Refund | None:
        owed = find_refund(current.refunds, refund.refund_id)
        if owed is None or not owed.is_owed:
            return None
        return advance(owed, RefundStatus.REFUSED, now=utc_now(), failure=failure)

    return _record(order, refuse, orders=orders, deadline=deadline)


def _record(
    order: Order, update: Callable[[Order], Refund | None], *, orders: OrdersTable, deadline: Deadline
) -> Order:
    """Record the refund that `update` returns, given the latest order. None records nothing. Raises `Busy`."""
    for _ in retry_until(_record_by(deadline)):
        refund = update(order)
        if refund is None:
            return order
        try:
            order = orders.record_refund(order, refund, deadline=_record_by(deadline))
        except RefundsChanged as changed:
            order = changed.order
            continue
        _report(order, refund)
        return order
    raise errors.Busy("Too many concurrent refunds of the order. Try again.")


def _record_earlier_refunds(
    order: Order,
    refund: Refund,
    failure: RefundFailure,
    *,
    orders: OrdersTable,
    stripe: "StripeGateway",
    deadline: Deadline,
) -> Order:
    """Record the refunds with which a late payment was returned before, for example in Stripe's dashboard.

    The first of them that the order does not have becomes the refund of the late payment. If it has all of them, the
    late payment's own refund is refused.
    """
    refunds = stripe.list_refunds(refund.payment_intent_id, deadline=deadline.earlier_by(TIME_TO_RECORD_SECONDS))
    if isinstance(refunds, outcomes.Unknown):
        return order
    recorded = {each.stripe_refund_id for each in order.refunds}
    earlier = [
        found for found in refunds if found.status is not RefundStatus.FAILED and found.stripe_refund_id not in recorded
    ]
    if not earlier:
        return _record_refusal(order, refund, failure, orders=orders, deadline=deadline)
    order = record_stripe_refund(order, earlier[0], orders=orders, deadline=deadline, sent=refund)
    for found in earlier[1:]:
        order = record_stripe_refund(order, found, orders=orders, deadline=deadline)
    return order


def _new_refund(order: Order, request: RefundRequest) -> Refund:
    """Return the refund that the request asks for. Raises if the order does not permit it."""
    intent_id = order.refundable_intent_id
    if intent_id is None:
        raise errors.NotRefundable("This order has no charge to refund.", order=order)
    left = order.refundable_amount
    if left <= 0:
        raise errors.NotRefundable("The charge of this order is refunded in full.", order=order)
    amount = left if request.amount is None else request.amount
    if amount > left:
        raise errors.RefundTooLarge(f"Only {left} {order.currency} of the charge is left to refund.", order=order)
    if fault := price_fault(amount, order.currency):
        raise errors.InvalidRequest(fault, field="amount")
    restockable = order.restockable_units()
    for product_id, quantity in request.restock:
        if product_id not in order.quantities():
            raise errors.InvalidRequest("`restock` names a product that is not in the order.", field="restock")
        if quantity > restockable.get(product_id, 0):
            raise errors.RefundTooLarge("`restock` exceeds the units that were sold and not put back.", order=order)
    now = utc_now()
    refund = Refund(
        request.refund_id,
        RefundKind.STAFF,
        RefundStatus.OWED,
        intent_id,
        amount,
        created_at=now,
        updated_at=now,
        reason=request.reason,
        restock=request.restock,
        by=request.by,
        request_id=request.request_id,
        request_fingerprint=request.fingerprint,
    )
    if stored_bytes((*order.refunds, refund)) > MAXIMUM_REFUND_BYTES:
        raise errors.NotRefundable("This order has too many refunds. Refund it in Stripe's dashboard.", order=order)
    return refund


def _replay(order: Order, recorded: Refund, request: RefundRequest) -> RefundResult:
    if recorded.request_fingerprint != request.fingerprint:
        raise errors.IdempotencyKeyReused("This idempotency key was used for another refund.")
    return _require_accepted(RefundResult(order, recorded, replayed=True))


def _require_accepted(result: RefundResult) -> RefundResult:
    refund = result.refund
    # A refund that failed later was accepted, so its request is replayed as such.
    if refund.failure is None or (result.replayed and refund.status is RefundStatus.FAILED):
        return result
    raise errors.NotRefundable(
        f"Stripe refused the refund: {refund.failure.message}", order=result.order, replayed=result.replayed
    )


def _external_refund(found: outcomes.StripeRefund) -> Refund:
    now = utc_now()
    return Refund(
        external_refund_id(found.stripe_refund_id),
        RefundKind.EXTERNAL,
        found.status,
        found.payment_intent_id,
        found.amount,
        created_at=now,
        updated_at=now,
        stripe_refund_id=found.stripe_refund_id,
    )


def _find_by_stripe(order: Order, found: outcomes.StripeRefund, sent: Refund | None) -> Refund | None:
    """Return the order's refund that `found` belongs to. One of Stripe's is never recorded twice."""
    for refund in order.refunds:
        if refund.stripe_refund_id == found.stripe_refund_id:
            return refund
        # Version 0.1.0 stored Stripe's error code in place of the id of the refund that it did not know.
        if refund.stripe_refund_id == ALREADY_REFUNDED and refund.payment_intent_id == found.payment_intent_id:
            return refund
    if sent:
        return find_refund(order.refunds, sent.refund_id)
    return next((refund for refund in order.refunds if refund.is_owed and _is_same(refund, found)), None)


def _is_same(refund: Refund, found: outcomes.StripeRefund) -> bool:
    """Return whether Stripe's refund is this owed one. The metadata of a late payment's refund has no refund id."""
    if refund.kind is RefundKind.LATE_PAYMENT:
        is_late = found.order_id is not None and found.refund_id is None
        return is_late and found.payment_intent_id == refund.payment_intent_id
    return found.refund_id == refund.refund_id


def _report(order: Order, refund: Refund) -> None:
    """Log and count the recorded status of a refund."""
    with logger.append_context_keys(
        orderId=order.order_id, refundId=refund.refund_id, refundKind=refund.kind, refundStatus=refund.status
    ):
        failure_code = refund.failure.code if refund.failure else None
        if failure_code == ALREADY_REFUNDED and refund.kind is RefundKind.LATE_PAYMENT:
            logger.info("late payment already refunded")
        elif refund.is_unsuccessful:
            logger.error("refund unsuccessful", failureCode=failure_code)
            count(Count.REFUND_UNSUCCESSFUL)
        elif refund.status is not RefundStatus.SUCCEEDED:
            logger.info("refund pending")
        elif refund.kind is RefundKind.LATE_PAYMENT:
            logger.warning("late payment refunded")
            count(Count.PAYMENT_REFUNDED)
        else:
            logger.info("refund recorded")
            count(Count.REFUND_SUCCEEDED)


def _record_by(deadline: Deadline) -> Deadline:
    return deadline.within(retry_budgets.SETTLE_BUDGET_SECONDS)
