"""Protocol of a store for the dummy's state, and the in-memory store.

The store decides all races: a write succeeds only if the intent was not written since it was read, and an idempotency
key belongs to the request that claimed it first.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from dummy_stripe.objects import intent_id_of_part

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dummy_stripe.objects import Charge, Intent
    from dummy_stripe.responses import Response

CLAIM_SECONDS: Final = 10
"""Time that a request keeps its idempotency key without a response, so that a crash frees the key.

A request that runs longer can no longer write, so it cannot charge after another request took the key over.
"""

IDEMPOTENCY_SECONDS: Final = 24 * 60 * 60
"""Time that a response is replayed. https://docs.stripe.com/api/idempotent_requests"""


class StoreUnavailable(Exception):
    """The store did not respond. A write may or may not have happened."""


class ClaimLost(Exception):
    """Another request holds the idempotency key now, and nothing was written."""


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """A request under an idempotency key: in flight while `response` is None. Times are in Unix seconds.

    `owner` is the id of the request that runs it. A repeated request has the same `endpoint` and `fingerprint`.
    """

    key: str
    owner: str
    endpoint: str
    fingerprint: str
    claimed_until: float
    expires_at: float
    response: Response | None = None

    def with_response(self, response: Response) -> IdempotencyRecord:
        return replace(self, response=response)

    def can_be_taken(self, by: IdempotencyRecord, now: float) -> bool:
        """Return whether `by` can take the key over: this record has expired, or it crashed and `by` repeats it."""
        crashed = self.response is None and self.claimed_until < now and self.fingerprint == by.fingerprint
        return self.expires_at < now or crashed


class Store(Protocol):
    """Store of the dummy's state. Every method raises `StoreUnavailable` if the store cannot be reached."""

    def intent(self, intent_id: str) -> Intent | None: ...

    def intents(self) -> list[Intent]:
        """Return all intents, unordered."""

    def charges(self) -> list[Charge]:
        """Return the ledger: every charge as last written, including failed ones, oldest first."""

    def write(self, intent: Intent, record: IdempotencyRecord | None) -> bool:
        """Write the intent and the record with its response, both or none.

        Returns False if the stored version is not `intent.version` - 1, so the intent was written since it was read.
        Raises `ClaimLost` if the record's key has another owner.
        """

    def claim(self, record: IdempotencyRecord, now: float) -> IdempotencyRecord | None:
        """Claim the key for this request. Returns None, or the record that holds the key."""

    def finish(self, record: IdempotencyRecord) -> None:
        """Save a response that changed no intent. Raises `ClaimLost` if the key has another owner."""

    def release(self, record: IdempotencyRecord) -> None:
        """Delete the claim, so that the next request runs. Does nothing if the key has another owner."""


class MemoryStore:
    """A thread-safe store in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._intents: dict[str, Intent] = {}
        self._records: dict[str, IdempotencyRecord] = {}

    def intent(self, intent_id: str) -> Intent | None:
        return self._intents.get(intent_id)

    def intents(self) -> list[Intent]:
        with self._lock:
            return list(self._intents.values())

    def charges(self) -> list[Charge]:
        return ledger(self.intents())

    def write(self, intent: Intent, record: IdempotencyRecord | None) -> bool:
        with self._lock:
            if record is not None:
                self._check_owner(record)
            stored = self._intents.get(intent.id)
            if (stored.version if stored else 0) != intent.version - 1:
                return False
            self._intents[intent.id] = intent
            if record is not None:
                self._records[record.key] = record
            return True

    def claim(self, record: IdempotencyRecord, now: float) -> IdempotencyRecord | None:
        with self._lock:
            holder = self._records.get(record.key)
            if holder is not None and not holder.can_be_taken(record, now):
                return holder
            self._records[record.key] = record
            return None

    def finish(self, record: IdempotencyRecord) -> None:
        with self._lock:
            self._check_owner(record)
            self._records[record.key] = record

    def release(self, record: IdempotencyRecord) -> None:
        with self._lock:
            holder = self._records.get(record.key)
            if holder is not None and holder.owner == record.owner:
                del self._records[record.key]

    def _check_owner(self, record: IdempotencyRecord) -> None:
        holder = self._records.get(record.key)
        if holder is None or holder.owner != record.owner:
            raise ClaimLost


def find_intent_of_refund(store: Store, refund_id: str) -> Intent | None:
    """Return the intent of a refund, with one read if it exists."""
    intent = store.intent(intent_id_of_part(refund_id))
    candidates = store.intents() if intent is None else [intent]
    return next((found for found in candidates if any(refund.id == refund_id for refund in found.refunds)), None)


def ledger(intents: Iterable[Intent]) -> list[Charge]:
    return sorted((charge for intent in intents for charge in intent.charges), key=lambda charge: charge.created)
