"""What a measurement leaves behind: figures, with the limits they are held to, and one chart of each family."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Spread:
    """What repeated measurements came to: the median, and the quartiles around it, in the unit of the samples."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        """The spread of at least two samples."""
        low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(low, median, high)


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that was measured.

    `value` is held to at most `limit`, where there is one; `low` and `high` are the quartiles of what was repeated.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def median(cls, name: str, samples: Sequence[float], unit: str) -> "Figure":
        spread = Spread.of(samples)
        return cls(name, spread.median, unit, low=spread.low, high=spread.high)

    @classmethod
    def ratio(cls, name: str, above: Sequence[float], below: Sequence[float], limit: float | None = None) -> "Figure":
        """The ratio of two medians.

        The samples were taken in turns, so that what slows the machine down slows both; the quartiles are those of the
        ratios of each turn.
        """
        turns = Spread.of([over / under for over, under in zip(above, below, strict=True)])
        value = statistics.median(above) / statistics.median(below)
        return cls(name, value, "ratio", limit, low=turns.low, high=turns.high)

    @property
    def is_kept(self) -> bool:
        return self.limit is None or self.value <= self.limit


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar chart: a value for each label, with the limit that some of them have."""

    title: str
    unit: str
    values: Mapping[str, float]
    limits: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lines:
    """A line chart: for each series, its points (x, y). An axis that spans decades is drawn by its logarithm."""

    title: str
    x_label: str
    y_label: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """The figures of one question, and their chart. `notes` are what a reader must know of how they were measured."""

    name: str
    title: str
    figures: Sequence[Figure]
    chart: Bars | Lines
    notes: Sequence[str] = ()
