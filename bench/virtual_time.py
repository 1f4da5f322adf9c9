"""Virtual time, which passes only while all threads sleep. Results are immediate, and the same on any machine."""

import heapq
import itertools
import threading
from collections.abc import Callable, Sequence


class VirtualTime:
    """A clock and the threads that sleep on it. Only one thread runs at a time, so they need no locks.

    Work between two sleeps takes no virtual time.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[tuple[float, int, threading.Semaphore]] = []
        # Threads that wake at the same time run in the order in which they went to sleep.
        self._places = itertools.count()
        self._own = threading.local()
        self._asleep = threading.Semaphore(0)

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        """Let other threads run until `seconds` have passed. Only for threads of `run`."""
        wake: threading.Semaphore = self._own.wake
        self._set_alarm(seconds, wake)
        self._asleep.release()
        wake.acquire()

    def run(self, tasks: Sequence[Callable[[], None]]) -> None:
        """Run each task in its own thread until all have ended. Raises the first exception of a task."""
        failures: list[BaseException] = []

        def work(task: Callable[[], None], wake: threading.Semaphore) -> None:
            self._own.wake = wake
            wake.acquire()
            try:
                task()
            except BaseException as failure:  # noqa: BLE001 - raised again after all tasks
                failures.append(failure)
            self._asleep.release()

        threads = []
        for task in tasks:
            wake = threading.Semaphore(0)
            self._set_alarm(0, wake)
            threads.append(threading.Thread(target=work, args=(task, wake)))
            threads[-1].start()
        while self._sleepers:
            self._now, _, wake = heapq.heappop(self._sleepers)
            wake.release()
            self._asleep.acquire()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def _set_alarm(self, seconds: float, wake: threading.Semaphore) -> None:
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._places), wake))
