"""The functions' sources in the checkout. The emulator runs them in place of their built copies once they change."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

Version = frozenset[tuple[str, int, int]]
"""Path, modification time in nanoseconds and size of each Python file."""


class Sources:
    """The folders `functions` and `layers` of a checkout, which is unchanged since its build."""

    def __init__(self, checkout: Path) -> None:
        self._functions = checkout / "functions"
        self._layers = checkout / "layers"
        self._built = {folder.name: self.read_version(folder.name) for folder in self._functions.iterdir()}

    def read_version(self, function: str) -> Version:
        """Return the current version of the code of `functions/FUNCTION`, including the layers."""
        return frozenset((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in self._files(function))

    def _files(self, function: str) -> Iterator[tuple[Path, os.stat_result]]:
        for folder in (self._functions / function, self._layers):
            for path in folder.rglob("*.py"):
                with suppress(FileNotFoundError):  # deleted since it was listed
                    yield path, path.stat()

    def built_version(self, function: str) -> Version:
        """Return the version of the function's code that was built."""
        return self._built[function]

    def link(self, function: str, unpacked: Path, path: Path) -> None:
        """Fill a directory with links to an unpacked function or layer, and to sources in place of their copies.

        It gets no bytecode of the build, which Python would not compare with the changed sources.
        """
        origins = [self._functions / function]
        if (packages := unpacked / "python").is_dir():
            unpacked, path = packages, path / "python"
            path.mkdir()
            origins = [layer for layer in self._layers.iterdir() if _contains_packages(unpacked, layer)]
        entries = {entry.name: entry for entry in unpacked.iterdir()}
        for origin in origins:
            entries |= {entry.name: entry for entry in origin.iterdir()}
        entries.pop("__pycache__", None)
        for name, entry in entries.items():
            (path / name).symlink_to(entry)


def _contains_packages(unpacked: Path, layer: Path) -> bool:
    """Return whether an unpacked layer was built from the folder `layer`. A layer of requirements alone has no code."""
    return any((unpacked / package.parent.name).is_dir() for package in layer.glob("*/__init__.py"))


def find_folder(function_name: str) -> str:
    """Return the folder in `functions`: `create_order` for `order-payments-CreateOrderFunction-1A2B`."""
    words = function_name.split("-")[2] if function_name.count("-") > 1 else function_name
    name = words.removesuffix("Function")
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).strip("_")
