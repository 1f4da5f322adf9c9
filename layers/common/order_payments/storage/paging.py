"""Pagination of listings with cursors."""

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
    """One page of a listing. `last` is the key after which the next page begins, or None on the last page."""

    entries: Sequence[Entry]
    last: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Cursors:
    """The cursors of one listing.

    A cursor is bound to the listing, the caller and the listing's filters by a digest, so a cursor of another listing,
    caller or filter, or a modified one, is refused. It is not a secret and grants no permission, because each listing
    contains only what the caller may see. A client can therefore compute a cursor. `key` has a function for each part
    of the key, which checks its form.
    """

    listing: str
    key: tuple[Callable[[str], bool], ...]

    def cursor(self, page: Page[Entry], caller_id: str, *filters: object) -> str | None:
        """Return the cursor for the page after `page`, or None if that is the last."""
        return self._seal(json.dumps(page.last).encode(), caller_id, filters) if page.last else None

    def position(self, cursor: str | None, caller_id: str, *filters: object) -> tuple[str, ...] | None:
        """Return the key to continue after, or None without a cursor. Raises `InvalidCursor`."""
        if cursor is None:
            return None
        try:
            position = urlsafe_b64decode(cursor.encode())[_SEAL_BYTES:]
            parts = json.loads(position) if self._seal(position, caller_id, filters) == cursor else None
        except (ValueError, RecursionError):
            parts = None
        if isinstance(parts, list) and len(parts) == len(self.key) and all(map(_fits, self.key, parts)):
            return tuple(parts)
        raise InvalidCursor("The cursor does not belong to this listing and user. Use the previous page's cursor.")

    def _seal(self, position: bytes, caller_id: str, filters: tuple[object, ...]) -> str:
        sealed = json.dumps([self.listing, caller_id, *filters], default=str).encode() + position
        return urlsafe_b64encode(hashlib.sha256(sealed).digest()[:_SEAL_BYTES] + position).decode()


def _fits(is_part: Callable[[str], bool], part: object) -> bool:
    return isinstance(part, str) and is_part(part)
