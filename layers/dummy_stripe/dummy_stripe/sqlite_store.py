"""Stores in a file, an SQLite database. The server keeps its state there with `--state`.

Each secret key has a store of its own. The file has a digest of the key, not the key.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dummy_stripe.objects import Intent
from dummy_stripe.responses import Reply, Response
from dummy_stripe.stores import ClaimLost, IdempotencyRecord, StoreUnavailable, ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dummy_stripe.objects import Charge

_TABLES = """
CREATE TABLE IF NOT EXISTS intents (account, id, version INTEGER, body, PRIMARY KEY (account, id));
CREATE TABLE IF NOT EXISTS idempotency_keys (account, key, body, PRIMARY KEY (account, key));
CREATE TABLE IF NOT EXISTS clocks (account PRIMARY KEY, seconds_ahead REAL);
"""
_LOCK_TIMEOUT_SECONDS = 5.0


class StateFile:
    """The file at `path`, which is created if it does not exist. Raises `StoreUnavailable` if it cannot be opened.

    Other processes can use the file at the same time.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(
                path, timeout=_LOCK_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
            )
            # A crash of the process loses nothing. Only a crash of the machine can, in exchange for faster writes.
            self._connection.executescript(f"PRAGMA synchronous = OFF; {_TABLES}")
        except sqlite3.Error as error:
            raise StoreUnavailable(f"cannot open {path}: {error}") from error

    def store(self, key: str) -> SQLiteStore:
        """Return the store of a secret key."""
        return SQLiteStore(self, hashlib.sha256(key.encode()).hexdigest())

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block in a transaction. An exception rolls it back."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                with self._connection:
                    yield self._connection
            except sqlite3.Error as error:
                raise StoreUnavailable(str(error)) from error

    def close(self) -> None:
        self._connection.close()


class SQLiteStore:
    """A `Store` in a `StateFile`. Thread-safe."""

    def __init__(self, file: StateFile, account: str) -> None:
        self._file = file
        self._account = account

    @property
    def seconds_ahead(self) -> float:
        """Return how far the account's clock is ahead of the time."""
        with self._file.transaction() as database:
            found = database.execute("SELECT seconds_ahead FROM clocks WHERE account = ?", [self._account]).fetchone()
        return float(found[0]) if found else 0.0

    def advance(self, seconds: float) -> None:
        with self._file.transaction() as database:
            database.execute(
                "INSERT INTO clocks VALUES (?, ?)"
                " ON CONFLICT (account) DO UPDATE SET seconds_ahead = seconds_ahead + excluded.seconds_ahead",
                [self._account, seconds],
            )

    def clear(self) -> None:
        with self._file.transaction() as database:
            for table in ("intents", "idempotency_keys", "clocks"):
                database.execute(f"DELETE FROM {table} WHERE account = ?", [self._account])  # noqa: S608 - constants

    def intent(self, intent_id: str) -> Intent | None:
        with self._file.transaction() as database:
            found = database.execute(
                "SELECT body FROM intents WHERE account = ? AND id = ?", [self._account, intent_id]
            ).fetchone()
        return Intent.from_json(found[0]) if found else None

    def intents(self) -> list[Intent]:
        with self._file.transaction() as database:
            found = database.execute("SELECT body FROM intents WHERE account = ?", [self._account]).fetchall()
        return [Intent.from_json(body) for (body,) in found]

    def charges(self) -> list[Charge]:
        return ledger(self.intents())

    def write(self, intent: Intent, record: IdempotencyRecord | None) -> bool:
        with self._file.transaction() as database:
            if record is not None:
                self._check_owner(database, record)
            stored = database.execute(
                "SELECT version FROM intents WHERE account = ? AND id = ?", [self._account, intent.id]
            ).fetchone()
            if (stored[0] if stored else 0) != intent.version - 1:
                return False
            database.execute(
                "REPLACE INTO intents VALUES (?, ?, ?, ?)",
                [self._account, intent.id, intent.version, intent.to_json()],
            )
            if record is not None:
                self._put(database, record)
            return True

    def claim(self, record: IdempotencyRecord, now: float) -> IdempotencyRecord | None:
        with self._file.transaction() as database:
            holder = self._record(database, record.key)
            if holder is not None and not holder.can_be_taken(record, now):
                return holder
            self._put(database, record)
            return None

    def finish(self, record: IdempotencyRecord) -> None:
        with self._file.transaction() as database:
            self._check_owner(database, record)
            self._put(database, record)

    def release(self, record: IdempotencyRecord) -> None:
        with self._file.transaction() as database:
            holder = self._record(database, record.key)
            if holder is not None and holder.owner == record.owner:
                database.execute(
                    "DELETE FROM idempotency_keys WHERE account = ? AND key = ?", [self._account, record.key]
                )

    def _check_owner(self, database: sqlite3.Connection, record: IdempotencyRecord) -> None:
        holder = self._record(database, record.key)
        if holder is None or holder.owner != record.owner:
            raise ClaimLost

    def _record(self, database: sqlite3.Connection, key: str) -> IdempotencyRecord | None:
        found = database.execute(
            "SELECT body FROM idempotency_keys WHERE account = ? AND key = ?", [self._account, key]
        ).fetchone()
        return _record(found[0]) if found else None

    def _put(self, database: sqlite3.Connection, record: IdempotencyRecord) -> None:
        database.execute(
            "REPLACE INTO idempotency_keys VALUES (?, ?, ?)", [self._account, record.key, json.dumps(asdict(record))]
        )


def _record(text: str) -> IdempotencyRecord:
    values: dict[str, Any] = json.loads(text)
    if values["response"] is not None:
        values["response"] = Response(**{**values["response"], "reply": Reply(values["response"]["reply"])})
    return IdempotencyRecord(**values)
