"""Summaries, lines and intervals are those of the textbook, and pairing does what it is for."""

from __future__ import annotations

import numpy as np
import pytest
from fgdm.statistics import (
    Indices,
    bootstrap,
    paired_difference,
    paired_ratio,
    student_quantile,
)
from numpy.typing import NDArray

from benchmarks.statistics import fit_line, latencies, shares, summary


def test_a_summary_of_a_hand_made_list() -> None:
    assert summary([3, 1, 2, 10]) == {"min": 1, "median": 2.5, "max": 10, "mean": 4}
    with pytest.raises(ValueError, match="no values"):
        summary([])


def test_shares_count_what_reaches_a_threshold() -> None:
    assert shares([0.5, 0.75, 1.0, 0.4]) == {"0.5": 0.75, "0.75": 0.5, "0.9": 0.25, "1.0": 0.25}


def test_percentiles_of_a_known_distribution() -> None:
    found = latencies(np.arange(101))
    assert found == {"p50": 50, "p95": 95, "p99": 99}


def test_a_line_through_points_of_a_line() -> None:
    line = fit_line([1, 2, 5], [5, 7, 13])
    assert line.slope == pytest.approx(2)
    assert line.intercept == pytest.approx(3)
    assert line.r_squared == pytest.approx(1)


def test_r_squared_by_hand() -> None:
    """y = 0, 1, 0 over x = 0, 1, 2: the best line is flat at 1/3 and explains nothing."""
    line = fit_line([0, 1, 2], [0, 1, 0])
    assert line.slope == pytest.approx(0)
    assert line.r_squared == pytest.approx(0)
    with pytest.raises(ValueError, match="two different x"):
        fit_line([2, 2], [1, 3])


def test_the_interval_of_a_mean_is_near_the_normal_one() -> None:
    """For many normal values the percentile bootstrap of the mean is mean ± 1.96 s / √n."""
    values = np.random.default_rng(1).normal(5, 2, 400)
    found = bootstrap(lambda chosen: float(values[chosen].mean()), len(values))
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert found.estimate == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        values = rng.exponential(1.0, 60)

        def mean(chosen: Indices, values: NDArray[np.float64] = values) -> float:
            return float(values[chosen].mean())

        found = bootstrap(mean, len(values), resamples=300, seed=trial)
        covered += found.low <= 1.0 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_pairing_removes_what_prompts_have_in_common() -> None:
    hardness = np.random.default_rng(3).uniform(0, 1, 100)
    found = paired_difference(list(hardness + 0.1), list(hardness))
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(0.1)
    times = paired_ratio(list(4 * hardness), list(hardness))
    assert (times.low, times.estimate, times.high) == pytest.approx((4, 4, 4))
    with pytest.raises(ValueError, match="differ in number"):
        paired_difference([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("freedom", "table"), [(3, 3.1824), (5, 2.5706), (7, 2.3646), (12, 2.1788), (30, 2.0423)]
)
def test_students_quantiles_are_those_of_the_tables(freedom: int, table: float) -> None:
    assert student_quantile(0.975, freedom) == pytest.approx(table, rel=0.01)
    assert student_quantile(0.5, freedom) == pytest.approx(0)


@pytest.mark.nightly
def test_expanded_intervals_of_few_observations_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    held = {True: 0, False: 0}
    for sample in rng.normal(size=(400, 8)):
        for expanded in held:

            def mean(chosen: Indices, values: NDArray[np.float64] = sample) -> float:
                return float(values[chosen].mean())

            found = bootstrap(mean, 8, resamples=500, expanded=expanded)
            held[expanded] += found.low <= 0 <= found.high
    # Three standard errors of a share of .95 of 400 are .033.
    assert held[True] / 400 > 0.95 - 0.033
    assert held[False] / 400 < 0.95 - 0.033
