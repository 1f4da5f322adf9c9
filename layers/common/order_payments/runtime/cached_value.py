"""Cache of a value that is fetched from a server at a limited rate."""

from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class CachedValue(Generic[Value]):
    """The value of the last successful fetch. It stays in use while fetches fail.

    `fetch` returns None on failure, and logs the reason. `clock` returns seconds since the epoch: a monotonic clock
    stands still while Lambda keeps the process frozen, and in a snapshot.
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
        """Fetch the value again, unless a fetch is in progress or ended within the last `pause_seconds`."""
        if self._is_within(pause_seconds, self._tried_at):
            return
        # Set before the fetch, so that other threads continue with the cached value.
        started_at = self._tried_at = self._clock()
        value = self._fetch()
        # The pause begins when the fetch ends: a hanging server can take longer than a short pause.
        self._tried_at = self._clock()
        if value is not None:
            self.value, self._fetched_at = value, started_at

    def _is_within(self, seconds: float, since: float) -> bool:
        # If the clock was set back, the elapsed time is negative, and without the check for 0 nothing would expire.
        return 0 <= self._clock() - since < seconds
