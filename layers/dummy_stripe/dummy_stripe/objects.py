"""PaymentIntent, charge and refund, as they are stored."""

from __future__ import annotations

import json
import secrets
import string
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

_ALPHABET: Final = string.ascii_letters + string.digits


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
    """A refund of a charge, in whole or in part. `amount` is in the minor unit, `created` in Unix seconds."""

    id: str
    created: float
    amount: int
    reason: str | None
    metadata: dict[str, str]


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

    @property
    def amount_refunded(self) -> int:
        return sum(refund.amount for refund in self.refunds)


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


def new_id(prefix: str, length: int = 24) -> str:
    """Return an unguessable id: `prefix` and `length` random letters and digits."""
    drawn, letters = secrets.randbelow(len(_ALPHABET) ** length), []
    for _ in range(length):
        drawn, place = divmod(drawn, len(_ALPHABET))
        letters.append(_ALPHABET[place])
    return prefix + "".join(letters)


def _to_dict(part: Charge | Failure | ChargeRefund | Intent) -> dict[str, Any]:
    return {name: getattr(part, name) for name in part.__slots__}


def _charge(values: dict[str, Any]) -> Charge:
    return Charge(
        **{
            **values,
            "status": ChargeStatus(values["status"]),
            "failure": _failure(values["failure"]),
            # The first release stored charges without refunds.
            "refunds": tuple(ChargeRefund(**refund) for refund in values.get("refunds", ())),
        },
    )


def _failure(values: dict[str, Any] | None) -> Failure | None:
    return None if values is None else Failure(**values)
