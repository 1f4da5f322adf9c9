"""An order, its lines and its status, and the one table of what the status may become."""

import re
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from order_payments.domain.idempotency import idempotency_digest

MAXIMUM_PRODUCTS = 99
"""Different products in an order: a transaction takes 100 items, and the order is one of them."""

MAXIMUM_REFUSED_ATTEMPTS = 5
"""Attempts to pay an order that Stripe may refuse. Each holds the stock for a moment and uses Stripe's rate."""

_ORDER_ID = re.compile(r"ord_[0-9a-f]{32}")


def order_id_for(buyer_id: str, idempotency_key: str) -> str:
    """The id of the order that a buyer places under an idempotency key, so that the same request finds it again."""
    return f"ord_{idempotency_digest(buyer_id, idempotency_key)}"


NO_ORDER = "ord_" + 32 * "0"
"""An id that no order has."""


def is_order_id(text: str) -> bool:
    """Whether `text` has the form of an order's id; what has not is the id of no order."""
    return _ORDER_ID.fullmatch(text) is not None


class OrderStatus(StrEnum):
    """Where an order is in its life."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


TRANSITIONS: Mapping[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.PENDING: frozenset({OrderStatus.CONFIRMED, OrderStatus.CANCELLED}),
    OrderStatus.CONFIRMED: frozenset(),
    OrderStatus.CANCELLED: frozenset(),
}
"""From each status, those that may follow. Every write of a status takes its condition from here."""


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
    """Why an order was cancelled, or settled by hand: Stripe's `code`, `decline_code` and message, or ours."""

    code: str
    message: str
    decline_code: str | None = None


@dataclass(frozen=True, slots=True)
class Shortage:
    """A product of which an order wants more than can be sold."""

    product_id: str
    requested: int
    available: int


@dataclass(frozen=True, slots=True)
class PaymentAttempt:
    """The one attempt to pay an order.

    It is in flight while its order is `pending`. `shortages` is not empty where it ended for want of stock.
    `idempotency_key` is the client's, and `request_id` that of the request that made it, to be told again with it.
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
        """A fresh attempt id; it is also the idempotency key of the attempt's confirmation at Stripe."""
        return f"att_{uuid.uuid4().hex}"


@dataclass(frozen=True, slots=True)
class LateRefund:
    """Money that came too late and goes back. It is owed until `refund_id`, Stripe's, is known."""

    payment_intent_id: str
    owed_since: datetime
    refund_id: str | None = None


@dataclass(frozen=True, slots=True)
class Override:
    """An admin's settlement of an order by hand: who did it, when, why, and with which request."""

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
    reason: Reason | None = None
    attempt: PaymentAttempt | None = None
    refund: LateRefund | None = None
    override: Override | None = None
    refused_attempts: int = 0
    """Attempts that Stripe refused, so that they were voided."""
    request_id: str | None = None
    """API Gateway's id of the request that placed it."""
    request_fingerprint: str | None = None
    """Of what that request said, where it had an idempotency key."""

    @classmethod
    def place(
        cls,
        buyer_id: str,
        lines: Sequence[OrderLine],
        currency: str,
        now: datetime,
        *,
        order_id: str | None = None,
        request_id: str | None = None,
        request_fingerprint: str | None = None,
    ) -> "Order":
        """A new order, `pending`, with an id of its own where none is given."""
        return cls(
            order_id=order_id or f"ord_{uuid.uuid4().hex}",
            buyer_id=buyer_id,
            status=OrderStatus.PENDING,
            total_amount=sum(line.quantity * line.unit_price for line in lines),
            currency=currency,
            lines=tuple(lines),
            created_at=now,
            updated_at=now,
            request_id=request_id,
            request_fingerprint=request_fingerprint,
        )

    @property
    def payment_intent_id(self) -> str | None:
        """The PaymentIntent that the attempt pays with, once there is one."""
        return self.attempt.payment_intent_id if self.attempt else None

    def as_placed(self) -> "Order":
        """The order as it was before anything happened to it."""
        return replace(
            self,
            status=OrderStatus.PENDING,
            updated_at=self.created_at,
            reason=None,
            attempt=None,
            refund=None,
            override=None,
            refused_attempts=0,
        )

    @property
    def last_request_id(self) -> str | None:
        """API Gateway's id of the request that made the order what it is, or began what did; it follows a payment.

        Of what was left to the reconciler that is the payer's, and of money that came without one, who placed it.
        """
        if self.override is not None:
            return self.override.request_id
        return (self.attempt.request_id if self.attempt else None) or self.request_id

    @property
    def is_payable(self) -> bool:
        """Whether it can be claimed: `pending`, and nobody has tried to pay it."""
        return self.status is OrderStatus.PENDING and self.attempt is None

    @property
    def owes_refund(self) -> bool:
        """Whether money for it came too late and has not gone back yet."""
        return self.refund is not None and self.refund.refund_id is None

    @property
    def in_flight(self) -> PaymentAttempt | None:
        """The attempt in flight: of an order that was claimed and is not settled. None for any other order."""
        return self.attempt if self.status is OrderStatus.PENDING else None

    def require_in_flight(self) -> PaymentAttempt:
        """Return the attempt in flight. Raises `ValueError` if there is none."""
        if self.in_flight is None:
            raise ValueError(f"order {self.order_id} has no attempt in flight")
        return self.in_flight

    def quantities(self) -> dict[str, int]:
        """What the order wants of each product, its lines summed: a transaction may touch a product once."""
        wanted: Counter[str] = Counter()
        for line in self.lines:
            wanted[line.product_id] += line.quantity
        return dict(wanted)
