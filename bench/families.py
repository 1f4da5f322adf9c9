"""Families of figures. Each is a module with `measure(options: Options) -> Family`."""

from importlib import import_module

from bench.figures import Family
from bench.options import Options

FAMILIES = ("cold_start", "warm", "capacity", "throughput", "contention", "backlog", "growth", "price")
"""In the order of measurement."""


def measure(name: str, options: Options) -> Family:
    """Import a family's module and measure the family."""
    family: Family = import_module(f"bench.{name}").measure(options)
    return family
