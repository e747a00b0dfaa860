"""The comparison's figures by hand, and a table whose rows the engine understands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fgdm import request
from fgdm.train.classes import INDEX
from fgdm.train.prompts import HeldOutPrompt
from numpy.typing import NDArray

from benchmarks.compliance import Scored, compare, describe, measure, save
from benchmarks.journal import Journal
from benchmarks.methods import METHODS, Method
from benchmarks.systems import Outcome
from benchmarks.targets import TARGETS


def _scores(
    seconds: float, recalls: tuple[float, ...], map_recall: float | None, rows: int | None
) -> list[Scored]:
    """Two prompts that a method served alike; the segmenter saw .5 and 1.0. A picture's mIoU is
    half of the map's recall."""
    miou = None if map_recall is None else map_recall / 2
    return [Scored(seconds, seconds, seen, recalls, map_recall, rows, miou) for seen in (0.5, 1.0)]


def test_figures_of_a_method_by_hand() -> None:
    recalls = (0.5,) * 9 + (1.0,)
    figures = describe(METHODS["fgdm_10x10"], _scores(2.0, recalls, 1.0, 200))
    assert figures["picture_recall"]["mean"] == 0.75
    assert figures["picture_recall"]["share_at"] == {"0.5": 1, "0.75": 0.5, "0.9": 0.5, "1.0": 0.5}
    assert figures["map_recall"]["mean"] == 1.0
    assert figures["candidates"]["min"] == 0.5
    assert figures["candidates"]["max"] == 1.0
    assert figures["candidates"]["mean"] == pytest.approx(0.55)
    assert figures["seconds"]["median"] == 2.0
    assert figures["map_rows"] == 200
    assert figures["miou"]["mean"] == 0.5


def test_the_base_has_no_map_and_one_candidate_no_row_of_table_3() -> None:
    figures = describe(METHODS["base_1"], _scores(2.0, (), None, None))
    assert not {"map_recall", "candidates", "map_rows", "miou"} & set(figures)


def test_comparisons_and_savings_by_hand() -> None:
    measured = {
        "base_10": describe(METHODS["base_10"], _scores(12.0, (0.5,) * 10, None, None)),
        "fgdm_10x10": describe(METHODS["fgdm_10x10"], _scores(3.0, (1.0,) * 10, 1.0, 200)),
        "prune": describe(METHODS["prune"], _scores(1.5, (1.0,) * 10, 0.9, 110)),
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
    assert saved["miou_loss"]["estimate"] == pytest.approx(0.05)
    assert saved["picture_recall_loss"]["estimate"] == 0
    standing = [
        target.standing({"comparisons": compared, "savings": save(measured)})
        for target in TARGETS["compliance"]
    ]
    assert [s.reached for s in standing] == [True, True, True, None, None, True, False]


def test_prompts_that_were_measured_are_not_measured_again(tmp_path: Path) -> None:
    class Seconds:
        """As systems: a prompt's picture takes as many seconds as its seed says."""

        def __init__(self) -> None:
            self.seeds: list[int] = []

        def run(self, method: Method, prompt: HeldOutPrompt, seed: int) -> Outcome:
            self.seeds.append(seed)
            labels = np.array([[INDEX["dog"]] * 2, [INDEX["cat"]] * 2], np.uint8)
            return Outcome((seed, seed), np.zeros((2, 2, 3), np.uint8), (1.0, 0.5), labels=labels)

        def seen(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
            return np.full((len(pictures), 2, 2), INDEX["dog"], np.uint8)

    prompts = [HeldOutPrompt("a dog", ["dog"])] * 10
    methods = [METHODS["base_10"]]
    journal = Journal(tmp_path / "kept.jsonl", {})
    journal.add(3, {"base_10": vars(Scored(99.0, 99.0, 1.0, (1.0, 0.5)))})
    first = Seconds()
    scores = measure(first, methods, prompts, journal)  # type: ignore[arg-type]
    assert first.seeds == [10, 0, 8, 1, 9, 2, 4, 5, 6, 7]  # the first is the warm-up
    assert [one.seconds for one in scores["base_10"]] == [0, 1, 2, 99, 4, 5, 6, 7, 8, 9]
    assert (scores["base_10"][0].picture_recall, scores["base_10"][0].miou) == (1.0, 0.25)
    again = Seconds()
    same = measure(again, methods, prompts, Journal(tmp_path / "kept.jsonl", {}))  # type: ignore[arg-type]
    assert again.seeds == []
    assert describe(methods[0], same["base_10"]) == describe(methods[0], scores["base_10"])
    none = measure(Seconds(), methods, prompts, Journal(None, {}), minutes=0)  # type: ignore[arg-type]
    assert none == {"base_10": []}


def test_the_engine_takes_every_option_of_the_table() -> None:
    for method in METHODS.values():
        checked = request.checked(method.options)
        assert set(checked) == set(method.options), method.name
