"""What a measurement is told."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """How a family is measured.

    `quick` asks for so few repetitions that a change of the measurement itself can be tried; its figures say little.
    `scratch` is a directory of the family's own, empty, which is gone afterwards.
    """

    quick: bool
    scratch: Path
