"""The comparison's figures by hand, and a table whose rows the engine understands."""

from __future__ import annotations

import numpy as np
import pytest
from fgdm import request

from benchmarks.compliance import compare, describe, save
from benchmarks.methods import METHODS
from benchmarks.systems import Outcome
from benchmarks.targets import TARGETS

_PICTURE = np.zeros((2, 2, 3), np.uint8)


def _outcomes(
    seconds: float, recalls: tuple[float, ...], map_recall: float | None, rows: int | None
) -> list[tuple[Outcome, float]]:
    """Two prompts that a method served alike; the segmenter saw .5 and 1.0."""
    outcome = Outcome(seconds, _PICTURE, recalls, map_recall, rows)
    return [(outcome, 0.5), (outcome, 1.0)]


def test_figures_of_a_method_by_hand() -> None:
    recalls = (0.5,) * 9 + (1.0,)
    figures = describe(METHODS["fgdm_10x10"], _outcomes(2.0, recalls, 1.0, 200))
    assert figures["picture_recall"]["mean"] == 0.75
    assert figures["picture_recall"]["share_at"] == {"0.5": 1, "0.75": 0.5, "0.9": 0.5, "1.0": 0.5}
    assert figures["map_recall"]["mean"] == 1.0
    assert figures["candidates"]["min"] == 0.5
    assert figures["candidates"]["max"] == 1.0
    assert figures["candidates"]["mean"] == pytest.approx(0.55)
    assert figures["seconds"]["median"] == 2.0
    assert figures["map_rows"] == 200


def test_the_base_has_no_map_and_one_candidate_no_row_of_table_3() -> None:
    figures = describe(METHODS["base_1"], _outcomes(2.0, (), None, None))
    assert not {"map_recall", "candidates", "map_rows"} & set(figures)


def test_comparisons_and_savings_by_hand() -> None:
    measured = {
        "base_10": describe(METHODS["base_10"], _outcomes(12.0, (0.5,) * 10, None, None)),
        "fgdm_10x10": describe(METHODS["fgdm_10x10"], _outcomes(3.0, (1.0,) * 10, 1.0, 200)),
        "prune": describe(METHODS["prune"], _outcomes(1.5, (1.0,) * 10, 0.9, 110)),
    }
    compared = compare(measured)
    assert compared["fgdm_10x10"]["speedup"]["estimate"] == 4
    assert compared["prune"]["speedup"]["estimate"] == 8
    assert compared["prune"]["picture_recall_gain"]["estimate"] == 0
    assert compared["fgdm_10x10"]["chosen_recall_gain"]["estimate"] == 0.25
    saved = save(measured)["prune"]
    assert saved["map_rows"] == pytest.approx(0.45)
    assert saved["seconds"] == pytest.approx(0.5)
    assert saved["map_recall_loss"]["estimate"] == pytest.approx(0.1)
    standing = [
        target.standing({"comparisons": compared, "savings": save(measured)})
        for target in TARGETS["compliance"]
    ]
    assert [s.reached for s in standing] == [True, True, True, None, None, True, False]


def test_the_engine_takes_every_option_of_the_table() -> None:
    for method in METHODS.values():
        checked = request.checked(method.options)
        assert set(checked) == set(method.options), method.name
