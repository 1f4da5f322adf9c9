"""Domain errors. `api/problems.py` maps each to its HTTP response."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from order_payments.domain.orders import Order, Shortage


class OrderPaymentError(Exception):
    """Base class of this service's errors. The client receives the message.

    `order` is the order concerned, if the caller may see it. `replayed` is true for the recorded result of an earlier,
    identical request.
    """

    def __init__(self, message: str, *, order: "Order | None" = None, replayed: bool = False) -> None:
        super().__init__(message)
        self.order = order
        self.replayed = replayed


class Forbidden(OrderPaymentError):
    """The caller is authenticated, and not permitted to do this."""


class InvalidSignature(OrderPaymentError):
    """A webhook event is not signed by Stripe, or its signature is too old."""


class InvalidRequest(OrderPaymentError):
    """The request breaks a rule that its schema cannot express. `field` is the Python name of the field at fault."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class InvalidCursor(OrderPaymentError):
    """The cursor does not belong to this listing and this user."""


class OrderNotFound(OrderPaymentError):
    """No order has this id."""


class ProductNotFound(OrderPaymentError):
    """No product has this id."""


class UnknownProduct(OrderPaymentError):
    """An order request names unknown products. `lines` holds their positions in the request, with their ids."""

    def __init__(self, lines: Iterable[tuple[int, str]]) -> None:
        super().__init__("The order names products that do not exist.")
        self.lines = tuple(lines)


class MixedCurrencies(OrderPaymentError):
    """The products of an order have different currencies."""


class StockBelowReserved(OrderPaymentError):
    """The new stock is less than the units that payments in flight hold."""


class PreconditionFailed(OrderPaymentError):
    """The stored product is not the one that the request expects."""


class PaymentAlreadyAttempted(OrderPaymentError):
    """The order's one payment was already attempted, or an admin settled the order."""


class PaymentInProgress(OrderPaymentError):
    """A payment attempt of the order is in flight."""


class OrderNotPending(OrderPaymentError):
    """The order is already settled, so an admin cannot settle it."""


class NotRefundable(OrderPaymentError):
    """The order has no charge to refund, or Stripe refused the refund."""


class RefundTooLarge(OrderPaymentError):
    """The refund exceeds what is left of the charge, or of the units that were sold."""


class IdempotencyKeyReused(OrderPaymentError):
    """The caller used this idempotency key for another request."""


class InsufficientStock(OrderPaymentError):
    """The stock does not cover the order. `shortages` names each short product. A payment also cancels the order."""

    def __init__(self, shortages: "Iterable[Shortage]", *, order: "Order", replayed: bool = False) -> None:
        super().__init__("Some products are not available in the quantity ordered.", order=order, replayed=replayed)
        self.shortages = tuple(shortages)


class TooManyAttempts(OrderPaymentError):
    """Stripe refused the maximum number of attempts to pay the order. The order is cancelled."""


class OrderExpired(OrderPaymentError):
    """The order is too old to be paid. It is cancelled."""


class PaymentFailed(OrderPaymentError):
    """The payment definitely failed. The order is cancelled and has the reason."""


class InvalidPaymentMethod(OrderPaymentError):
    """Stripe does not accept the buyer's payment method. Nothing was charged."""


class AmountNotChargeable(OrderPaymentError):
    """Stripe cannot charge the order's total in its currency. Nothing was charged, and the order stays pending."""


class PaymentProviderError(OrderPaymentError):
    """Stripe refused or did not receive the request, and the buyer is not at fault. Nothing was charged."""


class Busy(OrderPaymentError):
    """Contention, throttling, a rate limit or held stock outlasted the retries. No attempt is recorded.

    The client can retry after `retry_after_seconds`.
    """

    def __init__(self, message: str, *, order: "Order | None" = None, retry_after_seconds: int = 1) -> None:
        super().__init__(message, order=order)
        self.retry_after_seconds = retry_after_seconds
