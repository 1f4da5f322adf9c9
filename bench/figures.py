"""Results of measurements: figures with limits, and one chart per family."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of repeated measurements, in the unit of the samples."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        """Return the spread of at least two samples."""
        low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(low, median, high)


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number.

    `value` must not exceed `limit`, if there is one. `low` and `high` are the quartiles of repeated measurements.
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
        """Return the ratio of two medians, with the quartiles of the ratios of each turn.

        The samples must be taken in turns, so that a slow machine slows both.
        """
        turns = Spread.of([over / under for over, under in zip(above, below, strict=True)])
        value = statistics.median(above) / statistics.median(below)
        return cls(name, value, "ratio", limit, low=turns.low, high=turns.high)

    @property
    def is_within_limit(self) -> bool:
        return self.limit is None or self.value <= self.limit


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar chart: a value for each label, and limits for some labels."""

    title: str
    unit: str
    values: Mapping[str, float]
    limits: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lines:
    """A line chart: the points (x, y) of each series. Axes may be logarithmic."""

    title: str
    x_label: str
    y_label: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """Figures that belong together, and their chart. `notes` explain how they were measured."""

    name: str
    title: str
    figures: Sequence[Figure]
    chart: Bars | Lines
    notes: Sequence[str] = ()
