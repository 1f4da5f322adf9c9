"""The families of figures. Each is a module with `measure(options: Options) -> Family`."""

from importlib import import_module

from bench.figures import Family
from bench.options import Options

FAMILIES = ("cold_start", "warm", "capacity", "throughput", "contention", "backlog", "growth", "price")
"""In the order in which they are measured."""


def measure(name: str, options: Options) -> Family:
    """Measure a family, in whose module alone what it needs is imported."""
    family: Family = import_module(f"bench.{name}").measure(options)
    return family
