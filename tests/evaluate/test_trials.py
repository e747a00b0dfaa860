"""Protects the number of trials: which map was the first, and whom a histogram is of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fgdm.evaluate.tables import tables
from fgdm.evaluate.trials import THRESHOLDS, Trials, trials_of


def test_the_first_map_that_reaches_the_threshold_counts() -> None:
    values = [[0.5, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.8, 0.9], [0.7, 0.7, 1.0]]
    found = {one: Trials.counted("recall", one, values) for one in THRESHOLDS}
    assert found[1.0].histogram == (1, 1, 1) and found[1.0].never == 1
    assert found[0.8].histogram == (1, 2, 1) and found[0.8].never == 0
    assert found[0.7].histogram == (2, 2, 0)
    assert found[1.0].mean == (1 + 2 + 3) / 3
    assert found[1.0].to_json()["within"] == [0.25, 0.5, 0.75]
    assert found[1.0].to_json()["never_share"] == 0.25


def test_independent_maps_need_geometrically_many_trials() -> None:
    """Maps that each succeed with probability p: P(k trials) = (1 - p)^(k - 1) p."""
    p, maps, prompts = 0.35, 10, 20_000
    values = (np.random.default_rng(3).random((prompts, maps)) < p).astype(float)
    found = Trials.counted("recall", 1.0, values.tolist())
    law = (1 - p) ** np.arange(maps) * p
    error = 4 * np.sqrt(law * (1 - law) / prompts)
    assert (np.abs(np.array(found.histogram) / prompts - law) < error).all()
    never = (1 - p) ** maps
    assert abs(found.never / prompts - never) < 4 * np.sqrt(never / prompts)
    assert found.mean is not None
    mean = (np.arange(1, maps + 1) * law).sum() / law.sum()  # of those that succeed in `maps`
    assert found.mean == pytest.approx(mean, rel=0.02)


def test_where_none_succeeds_there_is_no_mean() -> None:
    found = Trials.counted("recall", 0.8, [[0.5, 0.5]])
    assert (found.histogram, found.never, found.mean) == ((0, 0), 1, None)


@pytest.mark.parametrize("values", [[], [[1.0], [1.0, 0.0]], [[]]])
def test_prompts_with_different_numbers_of_maps_are_refused(values: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="as many maps"):
        Trials.counted("recall", 1.0, values)


def result(requested: list[str], kinds: list[str], *maps: tuple[float, float]) -> dict[str, Any]:
    return {
        "requested": requested,
        "requirements": [{"kind": kind, "text": ""} for kind in kinds],
        "candidates": [{"recall": recall, "compliance": share} for recall, share in maps],
    }


def test_prompts_that_ask_for_nothing_are_left_out() -> None:
    """A bald face asks for no class: recall can't count it, compliance can. A young one can't be
    checked at all."""
    results = [
        result(["hat"], ["present"], (0, 0), (1, 1)),
        result([], ["absent"], (1, 0), (1, 0)),
        result([], ["attribute"], (1, 1), (1, 1)),
    ]
    found = {(one.of, one.threshold): one for one in trials_of(results)}
    assert set(found) == {(of, one) for of in ("recall", "compliance") for one in THRESHOLDS}
    recall, compliance = found["recall", 1.0], found["compliance", 1.0]
    assert (recall.histogram, recall.never) == ((0, 1), 0)
    assert (compliance.histogram, compliance.never) == ((0, 1), 1)


def test_where_only_classes_are_asked_for_compliance_would_say_the_same() -> None:
    assert {one.of for one in trials_of([result(["hat"], ["present"], (1, 1))])} == {"recall"}


def test_settings_with_fewer_maps_leave_cells_empty() -> None:
    def setting(name: str, maps: int) -> dict[str, Any]:
        trials = Trials.counted("recall", 1.0, [[0.0] * (maps - 1) + [1.0], [0.0] * maps])
        given = {"scores": {}, "totals": {}, "pictures_per_second": 1.0}
        return {"name": name, **given, "candidates": {"max": 0.5}, "trials": [trials.to_json()]}

    settings = [setting("few", 2), setting("many", 3)]
    made = tables({"settings": settings, "comparisons": []})[-1]
    assert made.columns == ["", "1", "2", "3", "never", "mean of the others"]
    assert made.rows == [
        ["few: recall of 100%", "0", "1", "", "1 (50%)", "2.000"],
        ["many: recall of 100%", "0", "0", "1", "1 (50%)", "3.000"],
    ]
