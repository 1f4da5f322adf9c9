"""How an order is paid: read, create, claim, confirm, settle; void, fence and refund where it goes otherwise.

An order is paid with one PaymentIntent, so Stripe itself rules out a second charge. The order is claimed before the
intent is confirmed, so nothing is charged that nobody would settle. And an intent can be cancelled or paid, never both,
so cancelling it is the fence by which anyone can bring an abandoned attempt to a safe end.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from order_payments.domain import errors
from order_payments.domain.money import charge_fault
from order_payments.domain.orders import (
    MAXIMUM_REFUSED_ATTEMPTS,
    LateRefund,
    Order,
    OrderStatus,
    Override,
    PaymentAttempt,
    Reason,
)
from order_payments.runtime import retry_budgets
from order_payments.runtime.clock import Deadline, utc_now
from order_payments.runtime.metric_names import Count
from order_payments.runtime.observability import correlate, count, logger
from order_payments.storage.dynamodb import DYNAMODB_CALL_SECONDS
from order_payments.storage.orders_table import NotClaimable, OrdersTable, StockTooShort
from order_payments.stripe_adapter import outcomes

if TYPE_CHECKING:
    from order_payments.stripe_adapter.gateway import StripeGateway

LEASE = timedelta(seconds=45)
"""How long an attempt is its payer's alone: for longer than the paying function can run."""

TIME_TO_SETTLE_SECONDS = retry_budgets.SETTLE_BUDGET_SECONDS + 2 * DYNAMODB_CALL_SECONDS
"""Kept back from calls to Stripe: to write how it ended, and to read it where no answer tells whether that was done."""

LATE_PAYMENT_METHOD = "unknown"
"""What an attempt paid with that was voided and charged all the same: only Stripe knows."""

TOO_MANY_ATTEMPTS = Reason("too_many_attempts", "Too many attempts to pay this order were refused.")
INSUFFICIENT_STOCK = Reason("insufficient_stock", "Some products were not available in the quantity ordered.")
ABANDONED = Reason("payment_abandoned", "The payment was not completed and has been cancelled.")
REFUNDED = Reason("payment_refunded", "The payment was refunded before the order was confirmed.")


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """A buyer's request to pay. The client's `idempotency_key` makes a repeated request return the same result."""

    order_id: str
    buyer_id: str
    payment_method_id: str
    idempotency_key: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class PaymentResult:
    """The order, `confirmed`, or `pending` while the outcome is not known. `replayed`: it was recorded before."""

    order: Order
    replayed: bool = False


def initiate_payment(
    request: PaymentRequest, *, orders: OrdersTable, stripe: "StripeGateway", deadline: Deadline
) -> PaymentResult:
    """Pay an order once, by `deadline`. An outcome that is unknown by then is left to the reconciler.

    Raises
    ------
    OrderNotFound, Forbidden, PaymentAlreadyAttempted, PaymentInProgress
        There is nothing for this caller to pay. Nothing was changed.
    InsufficientStock, TooManyAttempts, PaymentFailed
        The order is `cancelled`, and what could be sold before can be sold again.
    InvalidPaymentMethod, AmountNotChargeable, PaymentProviderError, Busy
        Nothing was charged, nothing is held, and the order can be paid again.
    """
    order = orders.get(request.order_id)
    if order.buyer_id != request.buyer_id:
        raise errors.Forbidden("This order belongs to another buyer.")
    if not order.is_payable:
        return _recorded_answer(order, request)
    if charge_fault(order.total_amount, order.currency):
        raise errors.AmountNotChargeable("Stripe cannot charge the total of this order.", order=order)
    if order.refused_attempts >= MAXIMUM_REFUSED_ATTEMPTS:
        order = orders.cancel_unclaimed(
            order, TOO_MANY_ATTEMPTS, attempt=None, now=utc_now(), deadline=_settle_by(deadline)
        )
        return _recorded_answer(order, request)

    calls_by = deadline.earlier_by(TIME_TO_SETTLE_SECONDS)
    attempt = PaymentAttempt(
        attempt_id=PaymentAttempt.new_id(),
        payment_intent_id=_create_intent(order, orders=orders, stripe=stripe, deadline=deadline),
        payment_method_id=request.payment_method_id,
        started_at=utc_now(),
        idempotency_key=request.idempotency_key,
        request_id=request.request_id,
    )
    if calls_by.remaining() < 0:
        raise errors.Busy("Too little time was left to pay.", order=order)
    try:
        order = orders.claim(order, attempt, deadline=deadline.within(retry_budgets.CLAIM_BUDGET_SECONDS))
    except NotClaimable as refused:
        return _recorded_answer(refused.order, request)
    except StockTooShort as short:
        attempt = replace(attempt, shortages=short.shortages)
        return _cancel_for_want_of_stock(order, attempt, request, orders, stripe, deadline)

    match stripe.confirm(order, deadline=calls_by):
        case outcomes.Paid():
            return _answer(
                settle_paid(order, attempt.payment_intent_id, orders=orders, stripe=stripe, deadline=deadline)
            )
        case outcomes.Declined(reason):
            return _answer(fence(order, reason, orders=orders, stripe=stripe, deadline=deadline))
        case outcomes.Closed():
            return _answer(fence(order, ABANDONED, orders=orders, stripe=stripe, deadline=deadline))
        case outcomes.Unknown():
            logger.warning("payment outcome unknown, left to the reconciler")
            return _answer(order)
        case (outcomes.Refused() | outcomes.RateLimited() | outcomes.NotStarted()) as outcome:
            order = orders.void(order, was_refused=_was_refused(outcome), now=utc_now(), deadline=_settle_by(deadline))
            if order.attempt is None or order.attempt.attempt_id != attempt.attempt_id:
                count(Count.PAYMENT_VOIDED)
                raise _not_charged(outcome, order)
            return _answer(order)


def fence(order: Order, reason: Reason, *, orders: OrdersTable, stripe: "StripeGateway", deadline: Deadline) -> Order:
    """Bring an attempt in flight to its end: cancel the intent, then settle by its final state.

    A declined intent can still be paid at Stripe, and an abandoned one may be paid already. Once it is cancelled no
    charge can follow. If it was paid, the order is confirmed. Cancels the order for the intent's own decline if it has
    one, else for `reason`. Returns the order as it is recorded, `pending` if the outcome stays unknown.
    """
    intent_id = order.require_in_flight().payment_intent_id
    match stripe.cancel(order, intent_id, deadline=deadline.earlier_by(TIME_TO_SETTLE_SECONDS)):
        case outcomes.Cancelled(decline):
            return orders.settle_cancelled(order, decline or reason, now=utc_now(), deadline=_settle_by(deadline))
        case outcomes.ChargeRefunded():
            return orders.settle_cancelled(order, REFUNDED, now=utc_now(), deadline=_settle_by(deadline))
        case outcomes.Paid():
            return settle_paid(order, intent_id, orders=orders, stripe=stripe, deadline=deadline)
        case outcomes.Unknown():
            logger.warning("payment outcome unknown, left to the reconciler")
            return order


def settle_paid(
    order: Order, intent_id: str, *, orders: OrdersTable, stripe: "StripeGateway", deadline: Deadline
) -> Order:
    """Confirm an order whose intent is paid, or give the money back where the order was settled without it.

    An order that nobody claimed is claimed first: the money is there, so the stock shall be. Returns the order as it
    is recorded. Raises `Busy` while that does not tell what is to be done with the money.
    """
    if order.is_payable:
        # Its attempt was voided as refused, and Stripe charged all the same.
        attempt = PaymentAttempt(PaymentAttempt.new_id(), intent_id, LATE_PAYMENT_METHOD, started_at=utc_now())
        try:
            order = orders.claim(order, attempt, deadline=deadline.within(retry_budgets.CLAIM_BUDGET_SECONDS))
        except NotClaimable as refused:
            order = refused.order
        except StockTooShort as short:
            attempt = replace(attempt, shortages=short.shortages)
            order = orders.cancel_unclaimed(
                order, INSUFFICIENT_STOCK, attempt=attempt, now=utc_now(), deadline=_settle_by(deadline)
            )
    if order.in_flight and order.payment_intent_id == intent_id:
        order = orders.settle_confirmed(order, now=utc_now(), deadline=_settle_by(deadline))
    if order.status is not OrderStatus.CANCELLED and order.payment_intent_id == intent_id:
        return order
    if order.status is OrderStatus.PENDING:
        # Another attempt is under way, or this one was voided meanwhile. Once that has ended, it is clear what to do.
        raise errors.Busy("Another attempt to pay this order is under way.")
    return refund_late_money(order, intent_id, orders=orders, stripe=stripe, deadline=deadline)


def refund_late_money(
    order: Order, intent_id: str, *, orders: OrdersTable, stripe: "StripeGateway", deadline: Deadline
) -> Order:
    """Give back what was paid for an order that was settled without it: owe it, send it, record it.

    Owed first, so that a crash leaves it to the reconciler. Sent under one idempotency key, so that it goes back once.
    """
    if order.refund is None:
        order = orders.owe_refund(order, LateRefund(intent_id, owed_since=utc_now()), deadline=_settle_by(deadline))
    refund = order.refund
    if refund is None or (refund.payment_intent_id == intent_id and not order.owes_refund):
        return order
    match stripe.refund(order, intent_id, deadline=deadline.earlier_by(TIME_TO_SETTLE_SECONDS)):
        case outcomes.Refunded(refund_id):
            logger.warning("late money refunded", orderId=order.order_id, refundId=refund_id)
            count(Count.PAYMENT_REFUNDED)
        case outcomes.Unknown():
            if refund.payment_intent_id != intent_id:
                # An order has room for one refund. Of another nobody would know but Stripe, which tells of it again.
                raise errors.Busy("The refund could not be sent.")
            return order
    if refund.payment_intent_id != intent_id:
        return order
    return orders.record_refund(order, replace(refund, refund_id=refund_id), deadline=_settle_by(deadline))


def reconcile(
    order: Order, *, before: datetime, orders: OrdersTable, stripe: "StripeGateway", deadline: Deadline
) -> Order:
    """Settle an order that was left unsettled. Returns it as it is then recorded.

    An attempt that began after `before` is its payer's, so it is left alone.
    """
    correlate(order.last_request_id)
    if order.owes_refund and order.refund is not None:
        return refund_late_money(order, order.refund.payment_intent_id, orders=orders, stripe=stripe, deadline=deadline)
    if order.in_flight and order.in_flight.started_at <= before:
        return fence(order, ABANDONED, orders=orders, stripe=stripe, deadline=deadline)
    return order


def follow_intent(
    order_id: str, intent_id: str, *, orders: OrdersTable, stripe: "StripeGateway", deadline: Deadline
) -> Order:
    """Settle an order by the state of its intent, which is read from Stripe. Returns the order as it is recorded.

    While the attempt is younger than the lease its payer may still be at work, so only a final state is acted on;
    after that the attempt is fenced. Raises `Busy` if Stripe does not respond, so that the caller retries: no other
    record shows money that arrives late.
    """
    order = orders.get(order_id)
    correlate(order.last_request_id)
    attempt = order.in_flight if order.payment_intent_id == intent_id else None
    if attempt and attempt.started_at <= utc_now() - LEASE:
        return fence(order, ABANDONED, orders=orders, stripe=stripe, deadline=deadline)
    if order.status is OrderStatus.CONFIRMED and order.payment_intent_id == intent_id:
        return order
    match stripe.retrieve_state(order, intent_id, deadline=deadline.earlier_by(TIME_TO_SETTLE_SECONDS)):
        case outcomes.Paid():
            return settle_paid(order, intent_id, orders=orders, stripe=stripe, deadline=deadline)
        case outcomes.ChargeRefunded() if attempt:
            return orders.settle_cancelled(order, REFUNDED, now=utc_now(), deadline=_settle_by(deadline))
        case outcomes.Cancelled() | outcomes.ChargeRefunded() | outcomes.Open():
            return order
        case outcomes.NoIntent():
            logger.error("news of an intent that is not this order's", paymentIntentId=intent_id)
            count(Count.MISMATCH)
            return order
        case outcomes.Unknown():
            if attempt:
                return order
            raise errors.Busy("The payment provider does not tell what became of the payment.")


def override_status(
    order_id: str,
    status: OrderStatus,
    *,
    by: str,
    why: str,
    request_id: str | None = None,
    orders: OrdersTable,
    deadline: Deadline,
) -> Order:
    """Settle an order by hand, as an admin says, if nobody has tried to pay it.

    Raises `OrderNotFound`, `OrderNotPending`, `PaymentInProgress`, `InsufficientStock` (the order stays `pending`) or
    `Busy`.
    """
    order = orders.get(order_id)
    override = Override(by, utc_now(), why, request_id)
    reason = Reason("admin_override", why)
    try:
        return orders.settle_by_hand(
            order, status, reason, override, deadline=deadline.within(retry_budgets.CLAIM_BUDGET_SECONDS)
        )
    except NotClaimable as refused:
        if refused.order.status is OrderStatus.PENDING:
            raise errors.PaymentInProgress("A payment of this order is in progress.", order=refused.order) from None
        raise errors.OrderNotPending("This order is settled.", order=refused.order) from None
    except StockTooShort as short:
        raise errors.InsufficientStock(short.shortages, order=order) from None


def _create_intent(order: Order, *, orders: OrdersTable, stripe: "StripeGateway", deadline: Deadline) -> str:
    try:
        return stripe.create_intent(order, deadline=deadline.earlier_by(TIME_TO_SETTLE_SECONDS))
    except errors.AmountNotChargeable:
        orders.count_refused_attempt(order, now=utc_now(), deadline=_settle_by(deadline))
        raise


def _cancel_for_want_of_stock(
    order: Order,
    attempt: PaymentAttempt,
    request: PaymentRequest,
    orders: OrdersTable,
    stripe: "StripeGateway",
    deadline: Deadline,
) -> PaymentResult:
    order = orders.cancel_unclaimed(
        order, INSUFFICIENT_STOCK, attempt=attempt, now=utc_now(), deadline=_settle_by(deadline)
    )
    if order.attempt is None or order.attempt.attempt_id != attempt.attempt_id:
        return _recorded_answer(order, request)
    # An unconfirmed intent charges nothing. But the charge of an earlier attempt, voided since, may have come late.
    calls_by = deadline.earlier_by(TIME_TO_SETTLE_SECONDS)
    if isinstance(stripe.cancel(order, attempt.payment_intent_id, deadline=calls_by), outcomes.Paid):
        order = settle_paid(order, attempt.payment_intent_id, orders=orders, stripe=stripe, deadline=deadline)
    return _answer(order)


def _recorded_answer(order: Order, request: PaymentRequest) -> PaymentResult:
    """Return the result of this same request, if it was made before. Raise for any other."""
    if order.is_payable:
        raise errors.Busy("The order could not be written.", order=order)
    if order.reason is not None and order.reason.code == TOO_MANY_ATTEMPTS.code:
        raise errors.TooManyAttempts(TOO_MANY_ATTEMPTS.message, order=order)
    attempt = order.attempt
    is_repeated = (
        attempt is not None
        and request.idempotency_key is not None
        and (attempt.idempotency_key, attempt.payment_method_id) == (request.idempotency_key, request.payment_method_id)
    )
    if order.status is OrderStatus.PENDING:
        if is_repeated:
            return PaymentResult(order)
        raise errors.PaymentInProgress("A payment of this order is in progress.", order=order)
    if not is_repeated:
        raise errors.PaymentAlreadyAttempted("This order was paid or cancelled already.", order=order)
    return _answer(order, replayed=True)


def _answer(order: Order, *, replayed: bool = False) -> PaymentResult:
    if order.status is OrderStatus.PENDING:
        count(Count.PAYMENT_UNKNOWN)
    if order.status is not OrderStatus.CANCELLED:
        return PaymentResult(order, replayed)
    if order.attempt and order.attempt.shortages:
        raise errors.InsufficientStock(order.attempt.shortages, order=order, replayed=replayed)
    raise errors.PaymentFailed(order.reason.message if order.reason else "", order=order, replayed=replayed)


def _was_refused(outcome: outcomes.Refused | outcomes.RateLimited | outcomes.NotStarted) -> bool:
    """Return whether Stripe refused what the buyer sent. Any other refusal must not cost the buyer the order."""
    return isinstance(outcome, outcomes.Refused) and outcome.cause in (
        outcomes.RefusalCause.PAYMENT_METHOD,
        outcomes.RefusalCause.AMOUNT,
    )


def _not_charged(outcome: outcomes.Refused | outcomes.RateLimited | outcomes.NotStarted, order: Order) -> Exception:
    match outcome:
        case outcomes.Refused(outcomes.RefusalCause.PAYMENT_METHOD):
            return errors.InvalidPaymentMethod("The payment method cannot be used.", order=order)
        case outcomes.Refused(outcomes.RefusalCause.AMOUNT):
            return errors.AmountNotChargeable("Stripe cannot charge the total of this order.", order=order)
        case outcomes.Refused():
            return errors.PaymentProviderError("The payment provider refused the payment.", order=order)
        case outcomes.RateLimited(seconds):
            message = "The payment provider takes no more requests at the moment."
            return errors.Busy(message, order=order, retry_after_seconds=seconds)
        case outcomes.NotStarted():
            return errors.Busy("Too little time was left to call the payment provider.", order=order)


def _settle_by(deadline: Deadline) -> Deadline:
    return deadline.within(retry_budgets.SETTLE_BUDGET_SECONDS)
