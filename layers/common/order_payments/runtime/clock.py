"""Time as the service keeps it: UTC, to the millisecond, written as RFC 3339 with `Z`."""

import re
import time
from datetime import UTC, datetime

_RFC_3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


def utc_now() -> datetime:
    """The time now, cut to the millisecond, so that what is stored and what is held in memory are equal."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def rfc3339(moment: datetime) -> str:
    """`2026-11-23T10:15:30.123Z`. All have the same width, so that they sort as text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def is_rfc3339(text: str) -> bool:
    """Whether `text` has the form of what `rfc3339` writes."""
    return _RFC_3339.fullmatch(text) is not None


def from_rfc3339(text: str) -> datetime:
    """The moment that `rfc3339` wrote. Raises `ValueError` for a text that is not of that form."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment


class Deadline:
    """A moment on the monotonic clock by which work must be done."""

    __slots__ = ("_at",)

    def __init__(self, at: float) -> None:
        self._at = at

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """The deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left; negative once it has passed."""
        return self._at - time.monotonic()

    def within(self, seconds: float) -> "Deadline":
        """This deadline, or the one `seconds` from now where that is earlier."""
        return Deadline(min(self._at, time.monotonic() + seconds))

    def earlier_by(self, seconds: float) -> "Deadline":
        """Return the deadline `seconds` before this one."""
        return Deadline(self._at - seconds)
