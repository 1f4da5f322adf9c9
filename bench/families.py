"""The families of figures. Each is a module with `measure(options: Options) -> Family`."""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec

from bench.figures import Family
from bench.options import Options

FAMILIES: Mapping[str, str] = {
    "cold_start": "bench.cold_start",
    "warm": "bench.warm",
    "capacity": "bench.capacity",
    "throughput": "bench.throughput",
    "contention": "bench.contention",
    "backlog": "bench.backlog",
    "growth": "bench.growth",
    "price": "bench.price",
}
"""In the order in which they are measured."""


def available() -> list[str]:
    """The names of those that can be measured."""
    return [name for name, module in FAMILIES.items() if find_spec(module)]


def measure(name: str, options: Options) -> Family:
    """Measure a family, in whose module alone what it needs is imported."""
    family: Family = import_module(FAMILIES[name]).measure(options)
    return family
