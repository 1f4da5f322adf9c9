"""A value fetched from a server, kept for a while, and fetched again at a limited rate."""

from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class CachedValue(Generic[Value]):
    """The value that was fetched last. It stays in use while a fetch fails.

    `fetch` returns None if it fails, and logs why. `clock` returns seconds since the epoch: a monotonic clock would
    stand still while Lambda keeps the process frozen, and in a snapshot.
    """

    def __init__(
        self,
        value: Value,
        *,
        fetch: Callable[[], Value | None],
        clock: Callable[[], float],
        fetched_at: float = float("-inf"),
    ) -> None:
        self.value = value
        self._fetch = fetch
        self._clock = clock
        self._fetched_at = self._tried_at = fetched_at

    def is_younger_than(self, seconds: float) -> bool:
        """Return whether the value was fetched within the last `seconds`."""
        return self._is_within(seconds, self._fetched_at)

    def refresh(self, *, pause_seconds: float) -> None:
        """Fetch the value again, unless a fetch is under way or ended within the last `pause_seconds`."""
        if self._is_within(pause_seconds, self._tried_at):
            return
        # Set before the fetch, so that other threads go on with the value that there is.
        started_at = self._tried_at = self._clock()
        value = self._fetch()
        # The pause begins when the fetch ends: a server that hangs takes longer than a short pause.
        self._tried_at = self._clock()
        if value is not None:
            self.value, self._fetched_at = value, started_at

    def _is_within(self, seconds: float, since: float) -> bool:
        # If the clock was set back, the time passed is negative, and the value would never be old.
        return 0 <= self._clock() - since < seconds
