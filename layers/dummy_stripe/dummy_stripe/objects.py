"""PaymentIntent, charge and refund, as they are stored."""

from __future__ import annotations

import json
import secrets
import string
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Self

from dummy_stripe.cards import RefundBehavior

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ALPHABET: Final = string.ascii_letters + string.digits
_SHARED_LENGTH, _ENDING_LENGTH = 16, 8
_EARLIER_REFUND_ID_LENGTH: Final = 36
"""Length of a refund's id in earlier releases: `re_`, the rest of its intent's id, and eight characters."""


class Status(StrEnum):
    REQUIRES_PAYMENT_METHOD = "requires_payment_method"
    REQUIRES_CONFIRMATION = "requires_confirmation"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"


class ChargeStatus(StrEnum):
    SUCCEEDED = "succeeded"
    PENDING = "pending"
    FAILED = "failed"


class RefundStatus(StrEnum):
    """Statuses of a card's refund. `failed` and `canceled` are final, and the money stays with the merchant.

    https://docs.stripe.com/api/refunds/object#refund_object-status
    """

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The last failed attempt to pay. `charge` is the id of its failed charge; None if it made none."""

    code: str
    decline_code: str | None
    advice_code: str | None
    message: str
    param: str | None
    payment_method: str
    charge: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeRefund:
    """A refund of a charge, in whole or in part. `amount` is in the minor unit.

    At `changes_at`, a `pending` refund becomes `succeeded`, and a `succeeded` one `failed`. If it is None, the refund
    does not change on its own. `failure_reason` is Stripe's, None unless the refund failed or was canceled. Times are
    in Unix seconds.
    """

    id: str
    created: float
    amount: int
    reason: str | None
    metadata: dict[str, str]
    status: RefundStatus = RefundStatus.SUCCEEDED
    changes_at: float | None = None
    failure_reason: str | None = None

    @property
    def returns_money(self) -> bool:
        """Return whether the amount counts as refunded."""
        return self.status not in {RefundStatus.FAILED, RefundStatus.CANCELED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One attempt to move money, and its refunds, oldest first.

    `amount` is in the minor unit, `created` in Unix seconds.
    """

    id: str
    created: float
    payment_intent: str
    amount: int
    currency: str
    status: ChargeStatus
    payment_method: str
    metadata: dict[str, str]
    description: str | None
    receipt_email: str | None
    statement_descriptor_suffix: str | None
    failure: Failure | None = None
    refunds: tuple[ChargeRefund, ...] = ()
    refund_behavior: RefundBehavior | None = None

    @property
    def amount_refunded(self) -> int:
        return sum(refund.amount for refund in self.refunds if refund.returns_money)

    @property
    def is_disputed(self) -> bool:
        return self.refund_behavior is RefundBehavior.DISPUTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A PaymentIntent and its charges, oldest first; at most one of them is not `failed`.

    `version` counts the writes. A store compares it, so that only one of two concurrent writes succeeds.
    `settles_at` is when a `processing` intent succeeds. Times are in Unix seconds.
    """

    id: str
    client_secret: str
    created: float
    amount: int
    currency: str
    capture_method: str
    confirmation_method: str = "automatic"
    metadata: dict[str, str]
    payment_method_types: tuple[str, ...]
    allow_redirects: str | None
    description: str | None
    receipt_email: str | None
    statement_descriptor_suffix: str | None
    payment_method: str | None
    status: Status
    charges: tuple[Charge, ...] = ()
    last_failure: Failure | None = None
    return_url: str | None = None
    settles_at: float | None = None
    canceled_at: float | None = None
    cancellation_reason: str | None = None
    version: int = 0

    @property
    def refunds(self) -> Iterator[ChargeRefund]:
        return (refund for charge in self.charges for refund in charge.refunds)

    def to_json(self) -> str:
        # Not `asdict`: it copies every nested value, which takes longer than the encoding.
        return json.dumps(self, default=_to_dict, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        values: dict[str, Any] = json.loads(text)
        values["status"] = Status(values["status"])
        values["payment_method_types"] = tuple(values["payment_method_types"])
        values["charges"] = tuple(_charge(charge) for charge in values["charges"])
        values["last_failure"] = _failure(values["last_failure"])
        return cls(**values)


def new_id(prefix: str, length: int) -> str:
    """Return an unguessable id: `prefix` and `length` random letters and digits."""
    drawn, letters = secrets.randbelow(len(_ALPHABET) ** length), []
    for _ in range(length):
        drawn, place = divmod(drawn, len(_ALPHABET))
        letters.append(_ALPHABET[place])
    return prefix + "".join(letters)


_OMITTED: Final[Mapping[type, Mapping[str, object]]] = {
    Charge: {"refund_behavior": None},
    ChargeRefund: {"status": RefundStatus.SUCCEEDED, "changes_at": None, "failure_reason": None},
    Intent: {"confirmation_method": "automatic"},
}
"""Values by field that are not stored, so that the release before these fields can read an ordinary object."""


def new_intent_id() -> str:
    """Return a new PaymentIntent's id. As on Stripe, its charges and refunds share the start of it."""
    shared = new_id("3", _SHARED_LENGTH - 1)
    return f"pi_{shared}{_intent_ending(shared)}"


def new_id_of_part(prefix: str, intent_id: str) -> str:
    """Return a new id of an intent's charge (`ch_`) or refund (`re_`)."""
    shared = intent_id.removeprefix("pi_")[:_SHARED_LENGTH]
    return new_id(f"{prefix}{shared}", _ENDING_LENGTH)


def intent_id_of_part(part_id: str) -> str:
    """Return the id of the intent of a charge or a refund. For an id of an earlier release it may not exist."""
    body = part_id.partition("_")[2]
    if len(part_id) == _EARLIER_REFUND_ID_LENGTH:
        return f"pi_{body[:-_ENDING_LENGTH]}"
    shared = body[:_SHARED_LENGTH]
    return f"pi_{shared}{_intent_ending(shared)}"


def _intent_ending(shared: str) -> str:
    """Return the end of an intent's id, which follows from its start, so that the ids of its parts lead to it."""
    return shared[: -_ENDING_LENGTH - 1 : -1]


def _to_dict(part: Charge | Failure | ChargeRefund | Intent) -> dict[str, Any]:
    omitted = _OMITTED.get(type(part), {})
    values = {name: getattr(part, name) for name in part.__slots__}
    return {name: value for name, value in values.items() if name not in omitted or value != omitted[name]}


def _charge(values: dict[str, Any]) -> Charge:
    return Charge(
        **{
            **values,
            "status": ChargeStatus(values["status"]),
            "failure": _failure(values["failure"]),
            # The first release stored charges without refunds.
            "refunds": tuple(_refund(refund) for refund in values.get("refunds", ())),
            "refund_behavior": RefundBehavior(values["refund_behavior"]) if "refund_behavior" in values else None,
        },
    )


def _refund(values: dict[str, Any]) -> ChargeRefund:
    return ChargeRefund(**{**values, "status": RefundStatus(values.get("status", RefundStatus.SUCCEEDED))})


def _failure(values: dict[str, Any] | None) -> Failure | None:
    return None if values is None else Failure(**values)
