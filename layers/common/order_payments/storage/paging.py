"""Listings in pages: a cursor tells where the next one begins."""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from order_payments.domain.errors import InvalidCursor

Entry = TypeVar("Entry")

_SEAL_BYTES = 12


@dataclass(frozen=True, slots=True)
class Page(Generic[Entry]):
    """Some entries of a listing. `last` is the key of the last one where more follow, to go on from."""

    entries: Sequence[Entry]
    last: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Cursors:
    """The cursors of one listing.

    A cursor is sealed to the listing and to the caller, so that one of another listing, of another caller, or that
    was changed on its way is noticed. It is no secret and gives no right: every listing shows a caller what is theirs
    to see, wherever it begins. So whoever makes one by the rules here may have it, as long as it has the form of a
    key: `key` says of each part whether it has.
    """

    listing: str
    key: tuple[Callable[[str], bool], ...]

    def cursor(self, page: Page[Entry], caller_id: str) -> str | None:
        """The cursor for what follows `page`, if anything does."""
        return self._seal(json.dumps(page.last).encode(), caller_id) if page.last else None

    def position(self, cursor: str | None, caller_id: str) -> tuple[str, ...] | None:
        """Return the key to continue from, None without a cursor. Raises `InvalidCursor` for one that is not ours."""
        if cursor is None:
            return None
        try:
            position = urlsafe_b64decode(cursor.encode())[_SEAL_BYTES:]
            parts = json.loads(position) if self._seal(position, caller_id) == cursor else None
        except (ValueError, RecursionError):
            parts = None
        if isinstance(parts, list) and len(parts) == len(self.key) and all(map(_fits, self.key, parts)):
            return tuple(parts)
        raise InvalidCursor("This cursor is not one of this listing for this user.")

    def _seal(self, position: bytes, caller_id: str) -> str:
        sealed = json.dumps([self.listing, caller_id]).encode() + position
        return urlsafe_b64encode(hashlib.sha256(sealed).digest()[:_SEAL_BYTES] + position).decode()


def _fits(is_part: Callable[[str], bool], part: object) -> bool:
    return isinstance(part, str) and is_part(part)
