"""Exhaustive exploration of a protocol's states, step by step.

A world is a hashable value. Every actor may take its next step in any order, may crash before a step's effect, and may
lose the reply of a step that had its effect.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple, TypeVar

W = TypeVar("W", bound=Hashable)


class Result(NamedTuple):
    """The number of states that were explored, and the first fault with the worlds that lead to it."""

    states: int
    fault: str | None
    trace: tuple[object, ...] = ()


def explore(start: W, successors: Callable[[W], Iterable[W]], find_fault: Callable[[W], str | None]) -> Result:
    """Visit all worlds that follow from `start`, breadth first, until one has a fault."""
    parents: dict[W, W | None] = {start: None}
    queue = deque([start])
    while queue:
        world = queue.popleft()
        if fault := find_fault(world):
            trace: list[object] = []
            step: W | None = world
            while step is not None:
                trace.append(step)
                step = parents[step]
            return Result(len(parents), fault, tuple(reversed(trace)))
        for following in successors(world):
            if following not in parents:
                parents[following] = world
                queue.append(following)
    return Result(len(parents), None)


def ends_well(start: W, successors: Callable[[W], Iterable[W]], is_done: Callable[[W], bool]) -> bool:
    """Return whether every run from `start` stops, in a world that is done."""
    finished: set[W] = set()
    path: set[W] = set()

    def visit(world: W) -> bool:
        if world in finished:
            return True
        if world in path:
            return False  # a loop without an end
        path.add(world)
        following = list(successors(world))
        result = all(map(visit, following)) if following else is_done(world)
        path.discard(world)
        finished.add(world)
        return result

    return visit(start)
