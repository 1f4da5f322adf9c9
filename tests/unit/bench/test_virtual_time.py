"""Virtual time: threads wake in order, one at a time, and without delay."""

from functools import partial

import pytest

from bench.virtual_time import VirtualTime


def test_threads_wake_in_the_order_of_their_alarms() -> None:
    virtual, woken = VirtualTime(), []

    def sleep(*pauses: float) -> None:
        for pause in pauses:
            virtual.sleep(pause)
            woken.append((virtual.monotonic(), pauses))

    a_day = 86400.0
    virtual.run([partial(sleep, 3.0, 1.0), partial(sleep, a_day), partial(sleep, 1.0, 1.0, 1.5)])

    assert [at for at, _ in woken] == [1.0, 2.0, 3.0, 3.5, 4.0, a_day]
    assert [len(pauses) for _, pauses in woken] == [3, 3, 2, 3, 2, 1]


def test_threads_that_wake_together_run_in_the_order_of_sleeping() -> None:
    virtual, woken = VirtualTime(), []

    def sleep(name: str) -> None:
        virtual.sleep(1)
        woken.append(name)

    virtual.run([partial(sleep, name) for name in "abcdef"])

    assert woken == list("abcdef")


def test_one_thread_runs_at_a_time() -> None:
    virtual = VirtualTime()
    running, most = 0, 0

    def work() -> None:
        nonlocal running, most
        for _ in range(50):
            running += 1
            # Long enough for another thread to be scheduled.
            sum(range(2000))
            most = max(most, running)
            running -= 1
            virtual.sleep(0.001)

    virtual.run([work] * 8)

    assert most == 1


def test_time_continues_from_the_last_run() -> None:
    virtual = VirtualTime()

    virtual.run([partial(virtual.sleep, 2)])
    virtual.run([partial(virtual.sleep, 3)])

    assert virtual.monotonic() == 5


def test_failed_task_does_not_stop_the_others() -> None:
    virtual, ended = VirtualTime(), []

    def fail() -> None:
        virtual.sleep(1)
        raise ValueError("the first")

    def end() -> None:
        virtual.sleep(2)
        ended.append(True)

    with pytest.raises(ValueError, match="the first"):
        virtual.run([fail, end])

    assert ended == [True]
