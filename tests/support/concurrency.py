"""Concurrent callers: threads that start together, and buyers and admins in separate processes."""

import multiprocessing
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.synchronize import Barrier
from typing import TypeVar
from unittest.mock import patch

from harness.dynamodb_local import client_of
from order_payments.domain.errors import Busy, OrderPaymentError
from order_payments.domain.orders import Order
from order_payments.refunds import RefundResult
from tests.support.world import World

START_TIMEOUT_SECONDS = 60.0
MAX_ATTEMPTS = 100
"""Payments by a buyer who is answered busy each time. The counted answers show who gave up."""

T = TypeVar("T")


def run_concurrently(steps: Sequence[Callable[[], T]]) -> list[T]:
    """Run each step in its own thread, start them together, and return their results in order."""
    start = threading.Barrier(len(steps))

    def run(step: Callable[[], T]) -> T:
        start.wait(START_TIMEOUT_SECONDS)
        return step()

    with ThreadPoolExecutor(len(steps)) as pool:
        return list(pool.map(run, steps))


@dataclass(frozen=True, slots=True)
class Purchase:
    """An order, and the card that pays it."""

    order: Order
    card: str = "pm_card_visa"

    def run(self, world: World) -> Order | OrderPaymentError:
        """Pay the order."""
        return world.pay(self.order, self.card)


@dataclass(frozen=True, slots=True)
class StaffRefund:
    """An admin's refund of an order."""

    order: Order
    amount: int
    restock: dict[str, int]

    def run(self, world: World) -> RefundResult | OrderPaymentError:
        """Refund the order."""
        return world.refund(self.order, self.amount, restock=self.restock)


Step = Purchase | StaffRefund


class BuyerProcesses:
    """Processes in which buyers pay or admins refund, several at a time. They share only the database."""

    def __init__(self, pool: ProcessPoolExecutor, processes: int) -> None:
        self._pool = pool
        self._processes = processes

    @classmethod
    @contextmanager
    def on(cls, endpoint: str, processes: int) -> "Iterator[BuyerProcesses]":
        """Start this many processes, which use the engine at `endpoint`."""
        # The fork server imports everything once, which saves time. This process has threads, so it must not fork.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        # Python 3.11 does not pass sys.path to the fork server. https://github.com/python/cpython/issues/117378
        with patch.dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)):
            forkserver.ensure_running()
        start = context.Barrier(processes)
        with ProcessPoolExecutor(processes, context, initializer=_start, initargs=(endpoint, start)) as pool:
            yield cls(pool, processes)

    def pay(self, purchases: Sequence[Purchase], *, at_a_time: int, max_attempts: int = MAX_ATTEMPTS) -> Counter[str]:
        """Pay all purchases, `at_a_time` at once, and count the answers, as `run` does."""
        return self.run(purchases, at_a_time=at_a_time, max_attempts=max_attempts)

    def run(self, steps: Sequence[Step], *, at_a_time: int, max_attempts: int = MAX_ATTEMPTS) -> Counter[str]:
        """Run all steps, `at_a_time` at once, and count the answers.

        An answer is the status of the order or the refund, or the error's name. A caller who is answered busy retries,
        with at most `max_attempts` requests. Each busy answer counts.
        """
        shares = [steps[number :: self._processes] for number in range(self._processes)]
        threads = -(-at_a_time // self._processes)
        answers: Counter[str] = Counter()
        for counted in self._pool.map(
            _run_share, shares, [threads] * self._processes, [max_attempts] * self._processes
        ):
            answers.update(counted)
        return answers


class _Process:
    """The state of a buyers' process."""

    endpoint: str
    start: Barrier


def _start(endpoint: str, start: Barrier) -> None:
    _Process.endpoint, _Process.start = endpoint, start


def _run_share(steps: Sequence[Step], threads: int, max_attempts: int) -> Counter[str]:
    service, fault_free = client_of(_Process.endpoint), client_of(_Process.endpoint)
    thread = threading.local()

    def enter() -> None:
        thread.world = World(service, fault_free)

    def run(step: Step) -> Counter[str]:
        return _run_until_answered(thread.world, step, max_attempts)

    answers: Counter[str] = Counter()
    with ThreadPoolExecutor(threads, initializer=enter) as pool:
        # Each process gets one share, since none starts before all have one.
        _Process.start.wait(START_TIMEOUT_SECONDS)
        for answer in pool.map(run, steps):
            answers.update(answer)
    return answers


def _run_until_answered(world: World, step: Step, max_attempts: int) -> Counter[str]:
    answers: Counter[str] = Counter()
    for _ in range(max_attempts):
        answer = step.run(world)
        answers[_name_of(answer)] += 1
        if not isinstance(answer, Busy):
            break
    return answers


def _name_of(answer: Order | RefundResult | OrderPaymentError) -> str:
    match answer:
        case Order(status=status):
            return status
        case RefundResult(refund=refund):
            return refund.status
        case _:
            return type(answer).__name__
