"""UTC times to the millisecond, written in RFC 3339 with `Z`, and deadlines."""

import re
import time
from datetime import UTC, datetime

_RFC_3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


def utc_now() -> datetime:
    """Return the current time, truncated to the millisecond, so that stored and in-memory times are equal."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def rfc3339(moment: datetime) -> str:
    """Format a time as `2026-11-23T10:15:30.123Z`. The fixed width makes times sort as text."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def is_rfc3339(text: str) -> bool:
    """Return whether `text` has the form that `rfc3339` writes."""
    return _RFC_3339.fullmatch(text) is not None


def from_rfc3339(text: str) -> datetime:
    """Parse a time that `rfc3339` wrote. Raises `ValueError` if it is invalid or has no zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("the time has no zone")
    return moment


class Deadline:
    """A time on the monotonic clock by which work must end."""

    __slots__ = ("_at",)

    def __init__(self, at: float) -> None:
        self._at = at

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Return the deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Return the seconds left; negative after the deadline."""
        return self._at - time.monotonic()

    def within(self, seconds: float) -> "Deadline":
        """Return the earlier one of this deadline and `seconds` from now."""
        return Deadline(min(self._at, time.monotonic() + seconds))

    def earlier_by(self, seconds: float) -> "Deadline":
        """Return the deadline `seconds` before this one."""
        return Deadline(self._at - seconds)
