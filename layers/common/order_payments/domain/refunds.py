"""Refunds of an order's charge: their kinds, the table of their status transitions, and what can still be refunded."""

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from order_payments.domain.idempotency import idempotency_digest


class RefundKind(StrEnum):
    """Origin of a refund."""

    STAFF = "staff"
    """An admin requested it."""
    LATE_PAYMENT = "late_payment"
    """The service returns a payment of an order that was settled without it."""
    EXTERNAL = "external"
    """It was made at Stripe without this service, for example in Stripe's dashboard."""


class RefundStatus(StrEnum):
    """Status of a refund. `failed` and `refused` are final: no money was returned until an admin acts."""

    OWED = "owed"
    """Recorded, and not known to be at Stripe. The reconciler sends it."""
    PENDING = "pending"
    """Stripe accepted it, and the money is on its way."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Stripe accepted it and could not return the money, which may be known only days later."""
    REFUSED = "refused"
    """Stripe did not accept it, for example because the charge is disputed."""


REFUND_TRANSITIONS: Mapping[RefundStatus, frozenset[RefundStatus]] = {
    RefundStatus.OWED: frozenset(
        {RefundStatus.PENDING, RefundStatus.SUCCEEDED, RefundStatus.FAILED, RefundStatus.REFUSED}
    ),
    RefundStatus.PENDING: frozenset({RefundStatus.SUCCEEDED, RefundStatus.FAILED}),
    RefundStatus.SUCCEEDED: frozenset({RefundStatus.FAILED}),
    RefundStatus.FAILED: frozenset(),
    RefundStatus.REFUSED: frozenset(),
}
"""The statuses that may follow each status. https://docs.stripe.com/refunds#failed-refunds"""

SENT_STATUSES = frozenset({RefundStatus.PENDING, RefundStatus.SUCCEEDED})
"""The money is returned, or on its way."""
CLAIMING_STATUSES = SENT_STATUSES | {RefundStatus.OWED}
"""The amount is no longer available to other refunds."""
UNSUCCESSFUL_STATUSES = frozenset({RefundStatus.FAILED, RefundStatus.REFUSED})


ALREADY_REFUNDED = "charge_already_refunded"
"""Stripe's code for a charge that has nothing left. https://docs.stripe.com/error-codes"""

MAXIMUM_REFUND_BYTES = 200_000
"""Limit for the refunds of an order, so that an order of any size fits into a DynamoDB item of 400 KB."""
_REFUND_BYTES = 450  # at most, without its texts and its products
_RESTOCK_BYTES = 130  # at most, per product


@dataclass(frozen=True, slots=True)
class RefundFailure:
    """Reason for which a refund failed or was refused: Stripe's code, and a message."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund of a PaymentIntent's charge. `amount` is in the minor unit of the order's currency.

    `restock` maps products to the units that go back on the shelf when the refund is sent. `by` and `request_id` name
    the admin and the request of a staff refund; `request_fingerprint` is a digest of that request, for replays.
    """

    refund_id: str
    kind: RefundKind
    status: RefundStatus
    payment_intent_id: str
    amount: int
    created_at: datetime
    updated_at: datetime
    stripe_refund_id: str | None = None
    reason: str | None = None
    restock: tuple[tuple[str, int], ...] = ()
    by: str | None = None
    request_id: str | None = None
    request_fingerprint: str | None = None
    failure: RefundFailure | None = None

    @property
    def is_owed(self) -> bool:
        """True if the refund is not known to be at Stripe."""
        return self.status is RefundStatus.OWED

    @property
    def is_unsuccessful(self) -> bool:
        """True if no money was returned, and none will be."""
        return self.status in UNSUCCESSFUL_STATUSES

    def may_become(self, status: RefundStatus) -> bool:
        """Return whether the transition table allows the status."""
        return status in REFUND_TRANSITIONS[self.status]


def staff_refund_id(order_id: str, admin_id: str, idempotency_key: str | None) -> str:
    """Return the id of a staff refund, derived from the admin's idempotency key if there is one."""
    digest = idempotency_digest(admin_id, f"{order_id} {idempotency_key}") if idempotency_key else uuid.uuid4().hex
    return f"ref_{digest}"


def late_refund_id(payment_intent_id: str) -> str:
    """Return the id of the refund of a late payment. An intent has only one."""
    return f"ref_{idempotency_digest('late payment', payment_intent_id)}"


def external_refund_id(stripe_refund_id: str) -> str:
    """Return the id of a refund that was made at Stripe."""
    return f"ref_{idempotency_digest('external', stripe_refund_id)}"


def find_refund(refunds: Iterable[Refund], refund_id: str) -> Refund | None:
    """Return the refund with this id, if there is one."""
    return next((refund for refund in refunds if refund.refund_id == refund_id), None)


def find_late_refund(refunds: Iterable[Refund], payment_intent_id: str) -> Refund | None:
    """Return the refund of a late payment, if there is one."""
    return find_refund(refunds, late_refund_id(payment_intent_id))


def refunded_amount(refunds: Iterable[Refund]) -> int:
    """Return the amount that was returned or is on its way."""
    return sum(refund.amount for refund in refunds if refund.status in SENT_STATUSES)


def claimed_amount(refunds: Iterable[Refund], payment_intent_id: str) -> int:
    """Return the amount of a charge that sent and owed refunds have taken."""
    return sum(
        refund.amount
        for refund in refunds
        if refund.payment_intent_id == payment_intent_id and refund.status in CLAIMING_STATUSES
    )


def restocked_units(refunds: Iterable[Refund]) -> dict[str, int]:
    """Return the units of each product that refunds put back on the shelf, or will."""
    units: Counter[str] = Counter()
    for refund in refunds:
        units.update(dict(refund.restock))
    return dict(units)


def with_refund(refunds: Iterable[Refund], refund: Refund) -> tuple[Refund, ...]:
    """Return the refunds with `refund` in the place of the one with its id, or at the end."""
    others = list(refunds)
    for position, each in enumerate(others):
        if each.refund_id == refund.refund_id:
            others[position] = refund
            return tuple(others)
    return (*others, refund)


def stored_bytes(refunds: Iterable[Refund]) -> int:
    """Return an upper bound of the bytes that the refunds take in the order's item."""
    total = 0
    for refund in refunds:
        texts = [refund.reason, refund.by, refund.failure.code if refund.failure else None]
        texts.append(refund.failure.message if refund.failure else None)
        total += (
            _REFUND_BYTES + _RESTOCK_BYTES * len(refund.restock) + sum(len((text or "").encode()) for text in texts)
        )
    return total


def advance(
    refund: Refund,
    status: RefundStatus,
    *,
    now: datetime,
    stripe_refund_id: str | None = None,
    amount: int | None = None,
    failure: RefundFailure | None = None,
) -> Refund:
    """Return the refund with a new status. A refund that was never sent puts nothing back on the shelf."""
    is_never_sent = refund.is_owed and status in UNSUCCESSFUL_STATUSES
    return replace(
        refund,
        status=status,
        updated_at=now,
        stripe_refund_id=stripe_refund_id or refund.stripe_refund_id,
        amount=refund.amount if amount is None else amount,
        failure=failure,
        restock=() if is_never_sent else refund.restock,
    )
