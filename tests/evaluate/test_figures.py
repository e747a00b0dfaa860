"""Protects comparisons: pairs stay pairs, and winning means what its direction says."""

from __future__ import annotations

import numpy as np
import pytest
from fgdm.evaluate import metrics
from fgdm.evaluate.figures import Measured, Score, Total, compare
from fgdm.evaluate.metrics import Evidence
from fgdm.evaluate.ranking import extremes, most_different
from fgdm.evaluate.settings import Setting


def test_a_win_rate_counts_equals_half_and_follows_the_direction() -> None:
    base = Score("s", [1.0, 2.0, 3.0, 4.0])
    own = Score("s", [2.0, 2.0, 4.0, 1.0])
    assert own.compared_with(base)["win_rate"]["estimate"] == (1 + 0.5 + 1 + 0) / 4
    less = Score("s", own.values, more_is_better=False)
    assert less.compared_with(base)["win_rate"]["estimate"] == (0 + 0.5 + 0 + 1) / 4


def test_differences_are_paired() -> None:
    """A constant gain on prompts that differ widely: an interval over prompts has no width."""
    values = np.random.default_rng(0).normal(size=30) * 10
    found = Score("s", (values + 0.25).tolist()).compared_with(Score("s", values.tolist()))
    assert found["difference"]["low"] == pytest.approx(0.25)
    assert found["difference"]["high"] == pytest.approx(0.25)
    assert found["win_rate"] == {"estimate": 1.0, "low": 1.0, "high": 1.0}


def test_totals_are_compared_on_the_same_prompts() -> None:
    rng = np.random.default_rng(1)
    confusion = rng.integers(1, 50, (20, 3, 4))
    better = confusion + 60 * np.pad(np.eye(3, dtype=int), ((0, 0), (0, 1)))
    totals = [
        Total.measured("m", metrics.mean_iou, Evidence(confusion=one))
        for one in (better, confusion)
    ]
    found = totals[0].compared_with(totals[1])["difference"]
    assert found["estimate"] == pytest.approx(totals[0].value - totals[1].value)
    assert 0 < found["low"] < found["estimate"] < found["high"]
    same = totals[0].compared_with(totals[0])["difference"]
    assert same == {"estimate": 0.0, "low": 0.0, "high": 0.0}


def test_wide_features_have_a_difference_without_an_interval() -> None:
    features = np.random.default_rng(2).normal(size=(6, 600))
    total = Total.measured("d", metrics.diversity, Evidence(features))
    other = Total.measured("d", metrics.diversity, Evidence(features + 1))
    found = total.compared_with(other)["difference"]
    assert found["low"] is None and found["estimate"] == total.value - other.value


def test_only_what_both_have_is_compared() -> None:
    one = Measured(Setting("a", {}), {"seconds": Score("s", [1.0]), "x": Score("x", [1.0])})
    two = Measured(Setting("b", {}), {"seconds": Score("s", [2.0])})
    found = compare(one, two)
    assert (found["setting"], found["against"]) == ("a", "b")
    assert found["scores"].keys() == {"seconds"} and found["totals"] == {}


def setting(**scores: list[float]) -> dict[str, object]:
    return {"scores": {key: {"by_prompt": values} for key, values in scores.items()}}


def test_prompts_are_ranked_by_the_user_s_scorer_then_by_what_it_leaves_open() -> None:
    found = extremes(
        setting(
            seconds=[0.0] * 9,
            map_recall=[0, 1, 0, 1, 0, 1, 0, 1, 0],
            own=[0, 0, 2, 2, 2, 3, 4, 5, 5],
        )
    )
    assert found == {"worst": [0, 1, 2], "median": [4, 3, 5], "best": [7, 8, 6]}
    assert extremes(setting(seconds=[1.0]))["worst"] == [0]


def test_most_different_are_those_that_a_score_tells_apart_then_the_pictures() -> None:
    a = setting(seconds=[0.0] * 4, own=[1.0, 5.0, 1.0, 1.0])
    b = setting(seconds=[0.0] * 4, own=[1.0, 1.0, 1.0, 1.0])
    assert most_different(a, b, [-40.0, -40.0, -10.0, -20.0], count=3) == [1, 2, 3]
