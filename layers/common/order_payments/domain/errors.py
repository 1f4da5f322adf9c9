"""Errors of the domain. `api/problems.py` maps each to its HTTP response."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from order_payments.domain.orders import Order, Shortage


class OrderPaymentError(Exception):
    """Base of every error of this service; its text is for the caller to read.

    `order` is the order it is about, where the caller may see it; `replayed` says that the same was answered before.
    """

    def __init__(self, message: str, *, order: "Order | None" = None, replayed: bool = False) -> None:
        super().__init__(message)
        self.order = order
        self.replayed = replayed


class Forbidden(OrderPaymentError):
    """The caller is known, and may not do this."""


class InvalidSignature(OrderPaymentError):
    """A message that claims to be Stripe's is not signed by Stripe, or not of now."""


class InvalidRequest(OrderPaymentError):
    """The request breaks a rule that its schema cannot state. `field` is the Python name of the field at fault."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class InvalidCursor(OrderPaymentError):
    """The cursor was not made for this listing and this user."""


class OrderNotFound(OrderPaymentError):
    """There is no order with this id."""


class ProductNotFound(OrderPaymentError):
    """There is no product with this id."""


class UnknownProduct(OrderPaymentError):
    """An order asks for products that do not exist. `lines` are their positions in the request, with their ids."""

    def __init__(self, lines: Iterable[tuple[int, str]]) -> None:
        super().__init__("The order names products that do not exist.")
        self.lines = tuple(lines)


class MixedCurrencies(OrderPaymentError):
    """The products of one order are priced in several currencies."""


class StockBelowReserved(OrderPaymentError):
    """The new stock is less than what payments in flight hold of it."""


class PreconditionFailed(OrderPaymentError):
    """The product is not in the state that `If-Match` or `If-None-Match` requires."""


class PaymentAlreadyAttempted(OrderPaymentError):
    """The order's one payment was made, or an admin settled the order."""


class PaymentInProgress(OrderPaymentError):
    """An attempt to pay this order is in flight."""


class OrderNotPending(OrderPaymentError):
    """The order is settled, so that nobody can settle it by hand."""


class IdempotencyKeyReused(OrderPaymentError):
    """The caller's idempotency key belongs to another request."""


class InsufficientStock(OrderPaymentError):
    """Some products of the order cannot be had; `shortages` names each of them. A payment has cancelled the order."""

    def __init__(self, shortages: "Iterable[Shortage]", *, order: "Order", replayed: bool = False) -> None:
        super().__init__("Some products are not available in the quantity ordered.", order=order, replayed=replayed)
        self.shortages = tuple(shortages)


class TooManyAttempts(OrderPaymentError):
    """Stripe refused as many attempts to pay this order as are allowed. The order is cancelled."""


class PaymentFailed(OrderPaymentError):
    """The payment definitely failed and the order is cancelled, with the reason on it."""


class InvalidPaymentMethod(OrderPaymentError):
    """Stripe does not accept the payment method that the buyer named. Nothing was charged."""


class AmountNotChargeable(OrderPaymentError):
    """Stripe cannot charge the order's total in its currency. Nothing was charged; the order stays pending."""


class PaymentProviderError(OrderPaymentError):
    """Stripe refused or did not take the request, through no fault of the buyer's. Nothing was charged."""


class Busy(OrderPaymentError):
    """Contention, throttling, a rate limit or held stock outlasted our retries. No attempt is recorded.

    The caller may try again after `retry_after_seconds`.
    """

    def __init__(self, message: str, *, order: "Order | None" = None, retry_after_seconds: int = 1) -> None:
        super().__init__(message, order=order)
        self.retry_after_seconds = retry_after_seconds
