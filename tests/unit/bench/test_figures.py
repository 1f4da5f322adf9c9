"""Figures: medians, ratios of medians, and limits."""

import pytest

from bench.figures import Figure, Spread


def test_spread_has_median_and_quartiles() -> None:
    assert Spread.of([5, 1, 3, 2, 4]) == Spread(low=2, median=3, high=4)


def test_ratio_is_of_medians_with_quartiles_of_the_turns() -> None:
    # The turn that was slow both ways changes neither.
    figure = Figure.ratio("ours ÷ bare", above=[2, 30, 3, 4, 6], below=[1, 10, 2, 2, 2])
    assert figure.value == 4 / 2
    assert (figure.low, figure.high) == (2, 3)


def test_ratio_requires_both_sides_of_every_turn() -> None:
    with pytest.raises(ValueError, match="zip"):
        Figure.ratio("ours ÷ bare", above=[1, 2, 3], below=[1, 2])


@pytest.mark.parametrize(("value", "limit", "is_within"), [(8, 8, True), (8.001, 8, False), (1e9, None, True)])
def test_figure_may_reach_but_not_exceed_its_limit(value: float, limit: float | None, is_within: bool) -> None:
    assert Figure("units", value, "units", limit).is_within_limit is is_within
