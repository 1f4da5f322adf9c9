"""The payment protocol: create, claim, confirm, settle; void or fence if an attempt does not succeed.

1. Create the order's PaymentIntent at Stripe. It charges nothing until it is confirmed.
2. Claim the order: record the attempt and hold the stock, in one DynamoDB transaction.
3. Confirm the PaymentIntent: Stripe charges the card.
4. Settle the order: confirm it and take the held stock, or cancel it and release the stock, in one transaction.

Two steps end an attempt that does not succeed:

- Void, if step 3 certainly charged nothing because Stripe refused or did not get the request: remove the attempt and
  release the stock. The order can be paid again.
- Fence, if a charge is still possible: cancel the PaymentIntent, then settle the order by the intent's final state.

Three rules make this safe:

- An attempt has one PaymentIntent, which Stripe charges at most once.
- An order is claimed before its intent is confirmed, so the reconciler finds every attempt that may have charged.
- An intent is either paid or cancelled, never both. After a cancellation no charge can follow, so any process may fence
  an abandoned attempt.

A charge for an order that was settled without it is refunded. An expired order is cancelled before step 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from order_payments.domain import errors
from order_payments.domain.money import charge_fault
from order_payments.domain.orders import (
    MAXIMUM_REFUSED_ATTEMPTS,
    UNKNOWN_PAYMENT_METHOD,
    Order,
    OrderStatus,
    Override,
    PaymentAttempt,
    Reason,
)
from order_payments.refunds import finish_refunds, refund_late_payment
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
"""Time in which only the payer acts on an attempt: longer than the paying function can run."""

TIME_TO_SETTLE_SECONDS = retry_budgets.SETTLE_BUDGET_SECONDS + 2 * DYNAMODB_CALL_SECONDS
"""Time reserved after the calls to Stripe: to write the settlement, and to read the order if that write times out."""

TOO_MANY_ATTEMPTS = Reason("too_many_attempts", "Too many attempts to pay this order were refused.")
ORDER_EXPIRED = Reason("order_expired", "The order was not paid in time and has expired.")
INSUFFICIENT_STOCK = Reason("insufficient_stock", "Some products were not available in the quantity ordered.")
ABANDONED = Reason("payment_abandoned", "The payment was not completed and has been cancelled.")
REFUNDED = Reason("payment_refunded", "The payment was refunded before the order was confirmed.")

_CANCELLED_WITHOUT_ATTEMPT: Mapping[str, type[errors.OrderPaymentError]] = {
    TOO_MANY_ATTEMPTS.code: errors.TooManyAttempts,
    ORDER_EXPIRED.code: errors.OrderExpired,
}
"""By reason code: the error of each payment of an order that was cancelled without an attempt to record."""


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
    """The order: `confirmed`, or `pending` while the outcome is unknown.

    `replayed` is true if an earlier request recorded it.
    """

    order: Order
    replayed: bool = False


def initiate_payment(
    request: PaymentRequest,
    *,
    valid_for: timedelta,
    orders: OrdersTable,
    stripe: "StripeGateway",
    deadline: Deadline,
) -> PaymentResult:
    """Pay an order once, by `deadline`. If the outcome is unknown by then, the reconciler settles the order.

    `valid_for` is the time in which an order without a recorded `expires_at` can be paid. Only an order without an
    attempt expires: an attempt in flight may be charged, so it is settled by its outcome.

    Raises
    ------
    OrderNotFound, Forbidden, PaymentAlreadyAttempted, PaymentInProgress
        The caller cannot pay this order. Nothing was changed.
    InsufficientStock, OrderExpired, TooManyAttempts, PaymentFailed
        The order is `cancelled` and holds no stock.
    InvalidPaymentMethod, AmountNotChargeable, PaymentProviderError, Busy
        Nothing was charged, no stock is held, and the order can be paid again.
    """
    order = orders.get(request.order_id)
    if order.buyer_id != request.buyer_id:
        raise errors.Forbidden("This order belongs to another buyer.")
    if not order.is_payable:
        return _replay_or_refuse(order, request)
    if order.is_expired(utc_now(), valid_for=valid_for):
        return _cancel_without_attempt(order, ORDER_EXPIRED, request, orders, deadline)
    if charge_fault(order.total_amount, order.currency):
        raise errors.AmountNotChargeable("Stripe cannot charge the total of this order.", order=order)
    if order.refused_attempts >= MAXIMUM_REFUSED_ATTEMPTS:
        return _cancel_without_attempt(order, TOO_MANY_ATTEMPTS, request, orders, deadline)

    # Create.
    stripe_deadline = deadline.earlier_by(TIME_TO_SETTLE_SECONDS)
    attempt = PaymentAttempt(
        attempt_id=PaymentAttempt.new_id(),
        payment_intent_id=_create_intent(order, orders=orders, stripe=stripe, deadline=deadline),
        payment_method_id=request.payment_method_id,
        started_at=utc_now(),
        idempotency_key=request.idempotency_key,
        request_id=request.request_id,
    )
    if stripe_deadline.remaining() < 0:
        raise errors.Busy("Too little time was left to pay. Try again.", order=order)

    # Claim.
    try:
        order = orders.claim(order, attempt, deadline=deadline.within(retry_budgets.CLAIM_BUDGET_SECONDS))
    except NotClaimable as refused:
        return _replay_or_refuse(refused.order, request)
    except StockTooShort as short:
        attempt = replace(attempt, shortages=short.shortages)
        return _cancel_out_of_stock(order, attempt, request, orders, stripe, deadline)

    # Confirm, then settle, fence or void.
    match stripe.confirm(order, deadline=stripe_deadline):
        case outcomes.Paid():
            return _make_result(
                settle_paid(order, attempt.payment_intent_id, orders=orders, stripe=stripe, deadline=deadline)
            )
        case outcomes.Declined(reason):
            return _make_result(fence(order, reason, orders=orders, stripe=stripe, deadline=deadline))
        case outcomes.Closed():
            return _make_result(fence(order, ABANDONED, orders=orders, stripe=stripe, deadline=deadline))
        case outcomes.Unknown():
            logger.warning("payment outcome unknown")
            return _make_result(order)
        case (outcomes.Refused() | outcomes.RateLimited() | outcomes.NotStarted()) as outcome:
            order = orders.void(
                order, was_refused=_is_input_refused(outcome), now=utc_now(), deadline=_settle_by(deadline)
            )
            if order.attempt is None or order.attempt.attempt_id != attempt.attempt_id:
                count(Count.PAYMENT_VOIDED)
                raise _make_error(outcome, order)
            return _make_result(order)


def fence(order: Order, reason: Reason, *, orders: OrdersTable, stripe: "StripeGateway", deadline: Deadline) -> Order:
    """Cancel the intent of the attempt in flight, then settle the order by the intent's final state.

    A declined intent can still be paid at Stripe, and an abandoned intent may be paid already. If the intent is paid,
    the order is confirmed. Otherwise the order is cancelled, with the intent's last decline as the reason, or `reason`
    if there was none. Returns the order as recorded: `pending` if the outcome is still unknown.
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
            logger.warning("payment outcome unknown")
            return order


def settle_paid(
    order: Order, intent_id: str, *, orders: OrdersTable, stripe: "StripeGateway", deadline: Deadline
) -> Order:
    """Confirm the order of a paid intent. If the order was settled without this payment, refund it.

    An order without an attempt is claimed first, so that it holds the stock. Returns the order as recorded. Raises
    `Busy` while another attempt is in flight, because the payment can be neither confirmed nor refunded then.
    """
    if order.is_payable:
        # The attempt was voided, but Stripe charged the intent later.
        attempt = PaymentAttempt(PaymentAttempt.new_id(), intent_id, UNKNOWN_PAYMENT_METHOD, started_at=utc_now())
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
        # Another attempt is in flight, or this one was just voided. A later retry can confirm or refund.
        raise errors.Busy("Another attempt to pay this order is in progress. Try again later.")
    return refund_late_payment(order, intent_id, orders=orders, stripe=stripe, deadline=deadline)


def reconcile(
    order: Order, *, before: datetime, orders: OrdersTable, stripe: "StripeGateway", deadline: Deadline
) -> Order:
    """Settle an unsettled order: finish its refunds, or fence its attempt. Returns the order as recorded.

    An attempt that started after `before` is skipped, because its payer may still be working on it.
    """
    correlate(order.last_request_id)
    if order.unfinished_refunds:
        return finish_refunds(order, orders=orders, stripe=stripe, deadline=deadline)
    if order.in_flight and order.in_flight.started_at <= before:
        return fence(order, ABANDONED, orders=orders, stripe=stripe, deadline=deadline)
    return order


def follow_intent(
    order_id: str, intent_id: str, *, orders: OrdersTable, stripe: "StripeGateway", deadline: Deadline
) -> Order:
    """Read an intent's state from Stripe and settle the order by it. Returns the order as recorded.

    During the lease the payer may still be working on the attempt, so only a charge is acted on. After the lease
    the attempt is fenced. Raises `Busy` if Stripe does not respond and the intent has no attempt in flight: no other
    record shows a late payment, so the caller must retry.
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
            logger.error("payment intent does not match the order", paymentIntentId=intent_id)
            count(Count.MISMATCH)
            return order
        case outcomes.Unknown():
            if attempt:
                return order
            raise errors.Busy("The payment provider did not return the state of the payment. Try again later.")


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
    """Set the outcome of an order by hand, if it has no payment attempt.

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
        raise errors.OrderNotPending("This order is already settled.", order=refused.order) from None
    except StockTooShort as short:
        raise errors.InsufficientStock(short.shortages, order=order) from None


def _create_intent(order: Order, *, orders: OrdersTable, stripe: "StripeGateway", deadline: Deadline) -> str:
    try:
        return stripe.create_intent(order, deadline=deadline.earlier_by(TIME_TO_SETTLE_SECONDS))
    except errors.AmountNotChargeable:
        orders.count_refused_attempt(order, now=utc_now(), deadline=_settle_by(deadline))
        raise


def _cancel_without_attempt(
    order: Order, reason: Reason, request: PaymentRequest, orders: OrdersTable, deadline: Deadline
) -> PaymentResult:
    order = orders.cancel_unclaimed(
        order, reason, attempt=None, request_id=request.request_id, now=utc_now(), deadline=_settle_by(deadline)
    )
    return _replay_or_refuse(order, request)


def _cancel_out_of_stock(
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
        return _replay_or_refuse(order, request)
    # This attempt charged nothing, but the charge of an earlier, voided attempt may have arrived late.
    stripe_deadline = deadline.earlier_by(TIME_TO_SETTLE_SECONDS)
    if isinstance(stripe.cancel(order, attempt.payment_intent_id, deadline=stripe_deadline), outcomes.Paid):
        order = settle_paid(order, attempt.payment_intent_id, orders=orders, stripe=stripe, deadline=deadline)
    return _make_result(order)


def _replay_or_refuse(order: Order, request: PaymentRequest) -> PaymentResult:
    """Return the recorded result if `request` repeats the recorded attempt. Raise an error for any other request."""
    if order.is_payable:
        raise errors.Busy("The order could not be updated. Try again.", order=order)
    if order.reason is not None and order.reason.code in _CANCELLED_WITHOUT_ATTEMPT:
        raise _CANCELLED_WITHOUT_ATTEMPT[order.reason.code](order.reason.message, order=order)
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
        raise errors.PaymentAlreadyAttempted("This order is already paid or cancelled.", order=order)
    return _make_result(order, replayed=True)


def _make_result(order: Order, *, replayed: bool = False) -> PaymentResult:
    """Return a confirmed or pending order as the result. Raise the error of a cancelled order."""
    if order.status is OrderStatus.PENDING:
        count(Count.PAYMENT_UNKNOWN)
    if order.status is not OrderStatus.CANCELLED:
        return PaymentResult(order, replayed)
    if order.attempt and order.attempt.shortages:
        raise errors.InsufficientStock(order.attempt.shortages, order=order, replayed=replayed)
    raise errors.PaymentFailed(order.reason.message if order.reason else "", order=order, replayed=replayed)


def _is_input_refused(outcome: outcomes.Refused | outcomes.RateLimited | outcomes.NotStarted) -> bool:
    """Return whether Stripe refused the buyer's input. Only such refusals count towards the limit of an order."""
    return isinstance(outcome, outcomes.Refused) and outcome.cause in (
        outcomes.RefusalCause.PAYMENT_METHOD,
        outcomes.RefusalCause.AMOUNT,
    )


def _make_error(outcome: outcomes.Refused | outcomes.RateLimited | outcomes.NotStarted, order: Order) -> Exception:
    match outcome:
        case outcomes.Refused(outcomes.RefusalCause.PAYMENT_METHOD):
            return errors.InvalidPaymentMethod("The payment method cannot be used. Use another one.", order=order)
        case outcomes.Refused(outcomes.RefusalCause.AMOUNT):
            return errors.AmountNotChargeable("Stripe cannot charge the total of this order.", order=order)
        case outcomes.Refused():
            return errors.PaymentProviderError("The payment provider refused the payment.", order=order)
        case outcomes.RateLimited(seconds):
            message = "The payment provider is busy. Try again later."
            return errors.Busy(message, order=order, retry_after_seconds=seconds)
        case outcomes.NotStarted():
            return errors.Busy("Too little time was left to call the payment provider. Try again.", order=order)


def _settle_by(deadline: Deadline) -> Deadline:
    return deadline.within(retry_budgets.SETTLE_BUDGET_SECONDS)
