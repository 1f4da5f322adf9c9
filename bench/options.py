"""Options of a measurement."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a measurement.

    `quick` reduces repetitions to try out a measurement; its figures are not reliable. `scratch` is an empty temporary
    directory for the family.
    """

    quick: bool
    scratch: Path
