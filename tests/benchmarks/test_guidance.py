"""What the segmenter sees is counted as it should be, class by class, and starts fall on steps."""

from __future__ import annotations

import numpy as np
import pytest
from fgdm.train.classes import INDEX

from benchmarks.guidance import (
    IN_THE_PAPERS,
    Sampling,
    as_shipped,
    class_accuracy,
    describe,
    judge,
    main,
    slowest_beside_cfg,
)

_DOG, _SKY, _SEA = INDEX["dog"], INDEX["sky"], INDEX["sea"]


def test_a_painting_is_judged_by_hand() -> None:
    labels = np.array([[_DOG, _DOG], [_SKY, 255]], np.uint8)
    seen = np.array([[_DOG, _SKY], [_SKY, _SKY]], np.uint8)
    painting = judge(seen, labels, ["dog", "cat"], seconds=2.0)
    assert painting.recall == 0.5
    assert painting.hits[_DOG] == 1
    assert painting.pixels[_DOG] == 2
    assert painting.miou == pytest.approx((1 / 2 + 1 / 3) / 2)
    accuracy = class_accuracy([painting])
    assert accuracy[_DOG] == 0.5
    assert accuracy[_SKY] == 1.0
    assert np.isnan(accuracy[_SEA])


def test_a_setting_gains_nothing_over_itself_and_all_over_the_worst() -> None:
    labels = np.array([[_DOG, _SKY]], np.uint8)
    right = [judge(labels, labels, ["dog"], 1.0)] * 3
    wrong = [judge(labels[:, ::-1], labels, ["cat"], 1.0)] * 3
    alone = describe(right, right)
    assert alone["class_accuracy"] == 1.0
    assert alone["gains"]["miou"] == {"estimate": 0, "low": 0, "high": 0}
    assert describe(right, wrong)["gains"]["class_accuracy"]["low"] == 1.0
    assert alone["accuracy_by_class"] == {"dog": 1.0, "sky": 1.0}


@pytest.mark.parametrize(
    ("sampling", "starts"),
    [
        (IN_THE_PAPERS, {1, 5, 10}),
        (as_shipped({"factors": [{}, {"num_inference_steps": 6}]}), {0, 2, 4}),
    ],
)
def test_starts_are_whole_steps_after_rounding(sampling: Sampling, starts: set[int]) -> None:
    """As the core rounds: floor(start × steps + 1/2)."""
    found = {
        int(options["segfree_start"] * sampling.steps + 0.5)
        for options in sampling.settings.values()
        if options["guidance"] == "segfree"
    }
    assert found == starts


def test_the_slowest_setting_is_compared_by_medians() -> None:
    medians = {"cfg": 2.0, "a=0 from 1": 1.8, "a=5 from 1": 2.1}
    settings = {name: {"seconds": {"median": median}} for name, median in medians.items()}
    assert slowest_beside_cfg(settings) == pytest.approx(1.05)


@pytest.mark.parametrize("jobs", ["0", "1000"])
def test_jobs_need_cores(jobs: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--threads", "1", "--jobs", jobs])
    assert "--jobs times --threads" in capsys.readouterr().err
