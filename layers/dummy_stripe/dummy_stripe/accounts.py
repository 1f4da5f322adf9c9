"""State that the server has for each secret key: a store, a clock, and the faults of its next calls."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol

from dummy_stripe.sqlite_store import StateFile
from dummy_stripe.stores import MemoryStore, Store

if TYPE_CHECKING:
    from pathlib import Path


class FaultKind(StrEnum):
    """Effect of a fault on one call."""

    SLOW = "slow"  # executes the call, and responds late
    LOST_REPLY = "lost_reply"  # executes the call, and does not respond
    LOST_REQUEST = "lost_request"  # does nothing, and does not respond
    RATE_LIMITED = "rate_limited"  # does nothing, HTTP 429
    API_ERROR = "api_error"  # does nothing, HTTP 500, which its idempotency key replays
    KEY_IN_USE = "key_in_use"  # does nothing, HTTP 409, as if a request with the same idempotency key were in flight


class Ending(StrEnum):
    """The way in which a client loses a response."""

    TIMEOUT = "timeout"  # nothing, until the client closes the connection
    RESET = "reset"  # a connection reset


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of the next `calls` calls whose path matches the pattern `path`. `seconds` is the delay if it is slow."""

    kind: FaultKind
    path: str = "*"
    calls: int = 1
    ending: Ending = Ending.TIMEOUT
    seconds: float = 0.0


class ServedStore(Store, Protocol):
    """A store with the state that only the server needs."""

    @property
    def seconds_ahead(self) -> float:
        """Return how far the account's clock is ahead of the time."""

    def advance(self, seconds: float) -> None:
        """Advance the clock."""

    def clear(self) -> None:
        """Delete everything."""


class ServedMemoryStore(MemoryStore):
    """A `ServedStore` in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds_ahead = 0.0

    def advance(self, seconds: float) -> None:
        with self._lock:
            self.seconds_ahead += seconds

    def clear(self) -> None:
        with self._lock:
            self._intents.clear()
            self._records.clear()
            self.seconds_ahead = 0.0


class Account:
    """The state of one secret key. Thread-safe."""

    def __init__(self, store: ServedStore) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def now(self) -> float:
        """Return the time of the account's clock, in Unix seconds."""
        return time.time() + self.store.seconds_ahead

    def add_fault(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def take_fault(self, path: str) -> Fault | None:
        """Return the fault of a call, the oldest one that matches its path, and count the call."""
        with self._lock:
            for place, fault in enumerate(self._faults):
                if fnmatchcase(path, fault.path):
                    rest = [replace(fault, calls=fault.calls - 1)] if fault.calls > 1 else []
                    self._faults[place : place + 1] = rest
                    return fault
        return None

    def reset(self) -> None:
        with self._lock:
            self._faults.clear()
        self.store.clear()


class Accounts:
    """The accounts of a server. Their state is in memory, or in the file `state`."""

    def __init__(self, state: Path | None = None) -> None:
        self._file = StateFile(state) if state else None
        self._lock = threading.Lock()
        self._accounts: dict[str, Account] = {}

    def find(self, key: str) -> Account:
        """Return the account of a secret key. Any test mode key has one."""
        with self._lock:
            if key not in self._accounts:
                self._accounts[key] = Account(self._file.store(key) if self._file else ServedMemoryStore())
            return self._accounts[key]

    def close(self) -> None:
        if self._file:
            self._file.close()
