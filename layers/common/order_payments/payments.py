"""How an order is paid: read, create, claim, confirm, settle; void and fence where it goes otherwise.

One order has one PaymentIntent, so Stripe itself rules out a second charge. The order is claimed before the intent is
confirmed, so nothing is charged that nobody would settle. And an intent can be cancelled or paid, never both, so
cancelling it is the fence by which anyone can bring an abandoned attempt to a safe end.
"""

from dataclasses import dataclass, replace

from order_payments.clock import Deadline, utc_now
from order_payments.errors import (
    Busy,
    Forbidden,
    InsufficientStock,
    InvalidPaymentMethod,
    PaymentAlreadyAttempted,
    PaymentFailed,
    PaymentInProgress,
    PaymentProviderError,
)
from order_payments.observability import logger
from order_payments.orders import Order, OrderStatus, PaymentAttempt, Reason, Shortage
from order_payments.orders_table import NotClaimable, OrdersTable, StockTooShort
from order_payments.stripe_gateway import (
    Cancelled,
    Closed,
    Declined,
    NotStarted,
    Paid,
    Refused,
    StripeGateway,
    Unknown,
)

CLAIM_BUDGET_SECONDS = 2.0
SETTLE_BUDGET_SECONDS = 3.0

INSUFFICIENT_STOCK = Reason("insufficient_stock", "Some products were not available in the quantity ordered.")
ABANDONED = Reason("payment_abandoned", "The payment was not completed and has been cancelled.")


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """A buyer's wish to pay. `idempotency_key` is the client's, to be told the same again for the same request."""

    order_id: str
    buyer_id: str
    payment_method_id: str
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class PaymentResult:
    """The order, `confirmed`, or `pending` while the outcome is not known. `replayed`: it was recorded before."""

    order: Order
    replayed: bool = False


def initiate_payment(
    request: PaymentRequest, *, orders: OrdersTable, stripe: StripeGateway, deadline: Deadline
) -> PaymentResult:
    """Pay an order once, by `deadline`; what is open by then is left to the reconciler.

    Raises
    ------
    OrderNotFound, Forbidden, PaymentAlreadyAttempted, PaymentInProgress
        There is nothing for this caller to pay. Nothing was changed.
    InsufficientStock, PaymentFailed
        The order is `cancelled`, and what could be sold before can be sold again.
    InvalidPaymentMethod, PaymentProviderError, Busy
        Nothing was charged, nothing is held, and the order can be paid again.
    """
    order = orders.get(request.order_id)
    if order.buyer_id != request.buyer_id:
        raise Forbidden("This order is somebody else's.")
    if not order.is_payable:
        return _recorded_answer(order, request)

    calls_by = deadline.sooner(SETTLE_BUDGET_SECONDS)
    attempt = PaymentAttempt(
        attempt_id=PaymentAttempt.new_id(),
        payment_intent_id=stripe.create_intent(order, deadline=calls_by),
        payment_method_id=request.payment_method_id,
        started_at=utc_now(),
        idempotency_key=request.idempotency_key,
    )
    try:
        order = orders.claim(order, attempt, deadline=deadline.within(CLAIM_BUDGET_SECONDS))
    except NotClaimable as refused:
        return _recorded_answer(refused.order, request)
    except StockTooShort as short:
        return _cancel_for_want_of_stock(order, attempt, short.shortages, request, orders, stripe, calls_by)

    match stripe.confirm(order, deadline=calls_by):
        case Paid():
            return _answer(orders.settle_confirmed(order, now=utc_now(), deadline=_settle_by(deadline)))
        case Declined(reason):
            return _answer(fence(order, reason, orders=orders, stripe=stripe, deadline=deadline))
        case Closed():
            return _answer(fence(order, ABANDONED, orders=orders, stripe=stripe, deadline=deadline))
        case Unknown():
            logger.warning("payment outcome unknown, left to the reconciler")
            return _answer(order)
        case (Refused() | NotStarted()) as outcome:
            order = orders.void(order, now=utc_now(), deadline=_settle_by(deadline))
            if order.is_payable:
                raise _not_charged(outcome, order)
            return _answer(order)


def fence(order: Order, reason: Reason, *, orders: OrdersTable, stripe: StripeGateway, deadline: Deadline) -> Order:
    """Bring an attempt in flight to its end: cancel the intent, then settle as it turned out.

    A declined intent is not final at Stripe, and of an abandoned one nobody knows; once it is cancelled no charge can
    follow, and where it cannot be because it was paid, the order is confirmed. Returns the order as it is recorded,
    `pending` where Stripe or the database do not let us tell.
    """
    attempt = order.attempt_in_flight()
    match stripe.cancel(order, attempt.payment_intent_id, deadline=deadline.sooner(SETTLE_BUDGET_SECONDS)):
        case Cancelled():
            return orders.settle_cancelled(order, reason, now=utc_now(), deadline=_settle_by(deadline))
        case Paid():
            return orders.settle_confirmed(order, now=utc_now(), deadline=_settle_by(deadline))
        case Unknown():
            logger.warning("payment outcome unknown, left to the reconciler")
            return order


def _cancel_for_want_of_stock(
    order: Order,
    attempt: PaymentAttempt,
    shortages: tuple[Shortage, ...],
    request: PaymentRequest,
    orders: OrdersTable,
    stripe: StripeGateway,
    deadline: Deadline,
) -> PaymentResult:
    attempt = replace(attempt, shortages=shortages)
    order = orders.cancel_unclaimed(order, attempt, INSUFFICIENT_STOCK, now=utc_now())
    if order.attempt is None or order.attempt.attempt_id != attempt.attempt_id:
        return _recorded_answer(order, request)
    # Tidiness alone: an intent that nobody will ever confirm charges nothing.
    stripe.cancel(order, attempt.payment_intent_id, deadline=deadline)
    return _answer(order)


def _recorded_answer(order: Order, request: PaymentRequest) -> PaymentResult:
    """Where the order is no longer to be paid: the answer that this very request had before, or a refusal."""
    if order.status is OrderStatus.PENDING:
        raise PaymentInProgress("A payment of this order is in progress.", order=order)
    attempt = order.attempt
    if (
        attempt is None
        or request.idempotency_key is None
        or (attempt.idempotency_key, attempt.payment_method_id) != (request.idempotency_key, request.payment_method_id)
    ):
        raise PaymentAlreadyAttempted("This order was paid or cancelled already.", order=order)
    return _answer(order, replayed=True)


def _answer(order: Order, *, replayed: bool = False) -> PaymentResult:
    if order.status is not OrderStatus.CANCELLED:
        return PaymentResult(order, replayed)
    if order.attempt and order.attempt.shortages:
        raise InsufficientStock(order.attempt.shortages, order=order, replayed=replayed)
    raise PaymentFailed(order.reason.message if order.reason else "", order=order, replayed=replayed)


def _not_charged(outcome: Refused | NotStarted, order: Order) -> Exception:
    match outcome:
        case Refused(payment_method_at_fault=True):
            return InvalidPaymentMethod("The payment method cannot be used.", order=order)
        case Refused():
            return PaymentProviderError("The payment provider refused the payment.", order=order)
        case NotStarted():
            return Busy("Too little time was left to ask the payment provider.", order=order)


def _settle_by(deadline: Deadline) -> Deadline:
    return deadline.within(SETTLE_BUDGET_SECONDS)
