"""Virtual time: who sleeps wakes in order, alone, and at once."""

from functools import partial

import pytest

from bench.virtual_time import VirtualTime


def test_sleepers_wake_in_the_order_of_their_alarms() -> None:
    virtual, woken = VirtualTime(), []

    def sleep(*pauses: float) -> None:
        for pause in pauses:
            virtual.sleep(pause)
            woken.append((virtual.monotonic(), pauses))

    a_day = 86400.0
    virtual.run([partial(sleep, 3.0, 1.0), partial(sleep, a_day), partial(sleep, 1.0, 1.0, 1.5)])

    assert [at for at, _ in woken] == [1.0, 2.0, 3.0, 3.5, 4.0, a_day]
    assert [len(pauses) for _, pauses in woken] == [3, 3, 2, 3, 2, 1]


def test_of_those_who_wake_at_the_same_moment_the_first_to_sleep_is_first() -> None:
    virtual, woken = VirtualTime(), []

    def sleep(name: str) -> None:
        virtual.sleep(1)
        woken.append(name)

    virtual.run([partial(sleep, name) for name in "abcdef"])

    assert woken == list("abcdef")


def test_one_runs_at_a_time() -> None:
    virtual = VirtualTime()
    running, most = 0, 0

    def work() -> None:
        nonlocal running, most
        for _ in range(50):
            running += 1
            # Long enough for another thread to be let in, were there one.
            sum(range(2000))
            most = max(most, running)
            running -= 1
            virtual.sleep(0.001)

    virtual.run([work] * 8)

    assert most == 1


def test_it_goes_on_where_the_last_run_has_ended() -> None:
    virtual = VirtualTime()

    virtual.run([partial(virtual.sleep, 2)])
    virtual.run([partial(virtual.sleep, 3)])

    assert virtual.monotonic() == 5


def test_who_fails_does_not_keep_the_others_from_their_ends() -> None:
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
