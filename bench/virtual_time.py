"""Time that passes only while somebody sleeps: what would take minutes is over at once, and the same on any machine."""

import heapq
import itertools
import threading
from collections.abc import Callable, Sequence


class VirtualTime:
    """A clock, and the threads that sleep on it. One of them runs at a time, so they need no locks among themselves.

    What a thread does between two sleeps takes no time, however long the machine is busy with it.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[tuple[float, int, threading.Semaphore]] = []
        # Of those who wake at the same moment, the first to have gone to sleep comes first.
        self._places = itertools.count()
        self._own = threading.local()
        self._asleep = threading.Semaphore(0)

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        """Let the others run until `seconds` have passed. For the threads of `run`."""
        wake: threading.Semaphore = self._own.wake
        self._set_alarm(seconds, wake)
        self._asleep.release()
        wake.acquire()

    def run(self, tasks: Sequence[Callable[[], None]]) -> None:
        """Run all `tasks`, each in a thread of its own, to their ends. Raises what the first raised that failed."""
        failures: list[BaseException] = []

        def work(task: Callable[[], None], wake: threading.Semaphore) -> None:
            self._own.wake = wake
            wake.acquire()
            try:
                task()
            except BaseException as failure:  # noqa: BLE001 - raised where the tasks are waited for
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
