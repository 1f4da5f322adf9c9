"""Orders: lines, payment attempt, refunds, override, and the table of status transitions."""

import re
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from order_payments.domain.idempotency import idempotency_digest
from order_payments.domain.refunds import (
    Refund,
    RefundKind,
    RefundStatus,
    claimed_amount,
    refunded_amount,
    restocked_units,
)

MAXIMUM_PRODUCTS = 99
"""Different products in an order. A transaction takes 100 items, and the order is one of them."""

MAXIMUM_REFUSED_ATTEMPTS = 5
"""Refused attempts after which an order is cancelled. Each briefly holds stock and uses Stripe's rate limit."""

UNKNOWN_PAYMENT_METHOD = "unknown"
"""Payment method of an attempt that was voided but charged later. Only Stripe knows the real one."""

_ORDER_ID = re.compile(r"ord_[0-9a-f]{32}")


def order_id_for(buyer_id: str, idempotency_key: str) -> str:
    """Return the order id for a buyer's idempotency key, so that a repeated request finds the same order."""
    return f"ord_{idempotency_digest(buyer_id, idempotency_key)}"


NO_ORDER = "ord_" + 32 * "0"
"""A well-formed id that no order has."""


def is_order_id(text: str) -> bool:
    """Return whether `text` has the form of an order id."""
    return _ORDER_ID.fullmatch(text) is not None


class OrderStatus(StrEnum):
    """Status of an order."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


TRANSITIONS: Mapping[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.PENDING: frozenset({OrderStatus.CONFIRMED, OrderStatus.CANCELLED}),
    OrderStatus.CONFIRMED: frozenset(),
    OrderStatus.CANCELLED: frozenset(),
}
"""The statuses that may follow each status. Every write of a status takes its condition from here."""


def statuses_before(status: OrderStatus) -> tuple[OrderStatus, ...]:
    """Return the statuses from which an order may move to `status`."""
    return tuple(before for before, following in TRANSITIONS.items() if status in following)


@dataclass(frozen=True, slots=True)
class OrderLine:
    """A product as it was when the order was placed. `unit_price` is in the currency's minor unit."""

    product_id: str
    name: str
    quantity: int
    unit_price: int


@dataclass(frozen=True, slots=True)
class Reason:
    """Reason for a cancellation or an override: Stripe's `code`, `decline_code` and message, or this service's."""

    code: str
    message: str
    decline_code: str | None = None


@dataclass(frozen=True, slots=True)
class Shortage:
    """A product of which an order needs more units than are available."""

    product_id: str
    requested: int
    available: int


@dataclass(frozen=True, slots=True)
class PaymentAttempt:
    """The one attempt to pay an order.

    It is in flight while its order is `pending`. `shortages` is not empty if insufficient stock ended it.
    `idempotency_key` is the client's. `request_id` is the id of the request that made the attempt, for replays.
    """

    attempt_id: str
    payment_intent_id: str
    payment_method_id: str
    started_at: datetime
    idempotency_key: str | None = None
    request_id: str | None = None
    shortages: tuple[Shortage, ...] = ()

    @staticmethod
    def new_id() -> str:
        """Return a new attempt id. It is also the idempotency key of the attempt's confirmation at Stripe."""
        return f"att_{uuid.uuid4().hex}"


@dataclass(frozen=True, slots=True)
class Override:
    """An admin's settlement of an order: the admin, the time, the reason and the request's id."""

    by: str
    at: datetime
    reason: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order. `total_amount` is in the minor unit of `currency`, a lower-case ISO 4217 code."""

    payment_method: ClassVar = "stripe-dummy"
    order_id: str
    buyer_id: str
    status: OrderStatus
    total_amount: int
    currency: str
    lines: tuple[OrderLine, ...]
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None
    """Time from which the order cannot be paid. None for an order of an earlier release: see `is_expired`."""
    reason: Reason | None = None
    attempt: PaymentAttempt | None = None
    refunds: tuple[Refund, ...] = ()
    """Refunds in the order in which they were recorded."""
    refunds_version: int = 0
    """Number of changes of `refunds`, for conditional writes."""
    override: Override | None = None
    refused_attempts: int = 0
    """Number of attempts that Stripe refused."""
    request_id: str | None = None
    """API Gateway's id of the request that placed the order."""
    request_fingerprint: str | None = None
    """Digest of that request, if it had an idempotency key."""
    cancel_request_id: str | None = None
    """API Gateway's id of the payment request that cancelled the order without an attempt."""

    @classmethod
    def place(
        cls,
        buyer_id: str,
        lines: Sequence[OrderLine],
        currency: str,
        now: datetime,
        *,
        expires_at: datetime | None = None,
        order_id: str | None = None,
        request_id: str | None = None,
        request_fingerprint: str | None = None,
    ) -> "Order":
        """Return a new `pending` order, with a random id unless `order_id` is given."""
        return cls(
            order_id=order_id or f"ord_{uuid.uuid4().hex}",
            buyer_id=buyer_id,
            status=OrderStatus.PENDING,
            total_amount=sum(line.quantity * line.unit_price for line in lines),
            currency=currency,
            lines=tuple(lines),
            created_at=now,
            updated_at=now,
            expires_at=expires_at,
            request_id=request_id,
            request_fingerprint=request_fingerprint,
        )

    @property
    def payment_intent_id(self) -> str | None:
        """Id of the attempt's PaymentIntent, or None without an attempt."""
        return self.attempt.payment_intent_id if self.attempt else None

    def as_placed(self) -> "Order":
        """Return the order as it was when it was placed."""
        return replace(
            self,
            status=OrderStatus.PENDING,
            updated_at=self.created_at,
            reason=None,
            attempt=None,
            refunds=(),
            refunds_version=0,
            override=None,
            refused_attempts=0,
            cancel_request_id=None,
        )

    @property
    def last_request_id(self) -> str | None:
        """API Gateway's id of the request that caused the order's current state.

        That is the admin's request after an override, the payer's if there is an attempt (also if the reconciler
        settled it) or if it cancelled the order without one, and otherwise the request that placed the order.
        """
        if self.override is not None:
            return self.override.request_id
        return self.settling_request_id or self.request_id

    @property
    def settling_request_id(self) -> str | None:
        """API Gateway's id of the request that settled the order, or that started the payment which settles it."""
        if self.override is not None:
            return self.override.request_id
        return self.attempt.request_id if self.attempt else self.cancel_request_id

    @property
    def is_payable(self) -> bool:
        """True if the order can be claimed: it is `pending` and has no attempt."""
        return self.status is OrderStatus.PENDING and self.attempt is None

    def is_expired(self, now: datetime, *, valid_for: timedelta) -> bool:
        """Return whether the order is too old to be paid. One without `expires_at` can be paid for `valid_for`."""
        return now >= (self.expires_at or self.created_at + valid_for)

    @property
    def owed_refund(self) -> Refund | None:
        """The first refund that is not known to be at Stripe, or None."""
        return next((refund for refund in self.refunds if refund.is_owed), None)

    @property
    def unfinished_refunds(self) -> tuple[Refund, ...]:
        """The refunds that are owed or pending."""
        unfinished = (RefundStatus.OWED, RefundStatus.PENDING)
        return tuple(refund for refund in self.refunds if refund.status in unfinished)

    @property
    def refunded_amount(self) -> int | None:
        """The amount that was returned or is on its way; None if no refund was sent."""
        sent = [refund for refund in self.refunds if refund.stripe_refund_id]
        if self.status is OrderStatus.CONFIRMED:
            # A second, late payment is returned in addition.
            sent = [refund for refund in sent if refund.payment_intent_id == self.payment_intent_id]
        return refunded_amount(sent) if sent else None

    @property
    def refundable_intent_id(self) -> str | None:
        """Id of the intent whose charge an admin can refund, or None.

        That is the intent that confirmed the order, or the late payment of a cancelled order whose automatic refund
        was unsuccessful.
        """
        if self.status is OrderStatus.CONFIRMED and self.override is None:
            return self.payment_intent_id
        late = [
            refund.payment_intent_id
            for refund in self.refunds
            if refund.kind is RefundKind.LATE_PAYMENT and refund.is_unsuccessful
        ]
        unrefunded = (intent for intent in late if claimed_amount(self.refunds, intent) < self.total_amount)
        return next(unrefunded, late[-1] if late else None)

    @property
    def refundable_amount(self) -> int:
        """The part of the refundable intent's charge that no refund has taken; 0 without such an intent."""
        intent_id = self.refundable_intent_id
        # Refunds made at Stripe and owed ones may exceed the charge together.
        return max(0, self.total_amount - claimed_amount(self.refunds, intent_id)) if intent_id else 0

    def restockable_units(self) -> dict[str, int]:
        """Return the units of each product that were sold and not put back on the shelf by a refund."""
        sold = self.quantities() if self.status is OrderStatus.CONFIRMED else {}
        restocked = restocked_units(self.refunds)
        return {product_id: units - restocked.get(product_id, 0) for product_id, units in sold.items()}

    @property
    def in_flight(self) -> PaymentAttempt | None:
        """The attempt of an order that is claimed and not settled, otherwise None."""
        return self.attempt if self.status is OrderStatus.PENDING else None

    def require_in_flight(self) -> PaymentAttempt:
        """Return the attempt in flight. Raises `ValueError` if there is none."""
        if self.in_flight is None:
            raise ValueError(f"order {self.order_id} has no attempt in flight")
        return self.in_flight

    def quantities(self) -> dict[str, int]:
        """Return the total quantity of each product: a transaction may write an item only once."""
        wanted: Counter[str] = Counter()
        for line in self.lines:
            wanted[line.product_id] += line.quantity
        return dict(wanted)
