"""Protects the figures: they are what a well-kept library, or a closed form, makes of the same."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fgdm.evaluate import metrics
from fgdm.evaluate.metrics import Evidence
from torchmetrics.functional.classification import multiclass_jaccard_index

ROOT = Path(__file__).parents[2]
APART = ROOT / "build/torch-fidelity"


def torch_fidelity(call: str, folder: Path, **given: Any) -> dict[str, Any]:
    """What torch-fidelity makes of arrays; see tests/evaluate/fidelity.py."""
    if not APART.is_dir() and importlib.util.find_spec("torch_fidelity") is None:
        pytest.skip("torch-fidelity is neither installed nor in build/torch-fidelity")
    np.savez(folder / "given.npz", **given)
    program = [sys.executable, str(ROOT / "tests/evaluate/fidelity.py"), call]
    subprocess.run(
        [*program, folder / "given.npz", folder / "found.npz"],
        env={**os.environ, "PYTHONPATH": str(APART)},
        check=True,
        timeout=300,
    )
    return dict(np.load(folder / "found.npz"))


def clouds() -> tuple[Evidence, dict[str, Any]]:
    """Two overlapping clouds of features, and logits."""
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(12, 12))
    made = rng.normal(size=(60, 12)) @ mixing
    real = 1.2 * rng.normal(size=(80, 12)) @ mixing + 2
    logits = rng.normal(size=(60, 5)) * 2
    return Evidence(made, real, logits), {"made": made, "real": real, "logits": logits}


def test_distribution_metrics_are_torch_fidelity_s(tmp_path: Path) -> None:
    evidence, given = clouds()
    theirs = torch_fidelity("metrics", tmp_path, **given)
    assert metrics.frechet_distance(evidence) == pytest.approx(
        theirs["frechet_inception_distance"], rel=1e-9
    )
    assert 0 < theirs["precision"] < 1 and 0 < theirs["recall"] < 1  # neither is trivial here
    assert metrics.precision(evidence) == pytest.approx(theirs["precision"], abs=1e-6)
    assert metrics.recall(evidence) == pytest.approx(theirs["recall"], abs=1e-6)
    assert metrics.inception_score(evidence, splits=1) == pytest.approx(
        theirs["inception_score_mean"], rel=1e-9
    )


def test_frechet_distance_has_its_closed_forms() -> None:
    """Nothing for the same set; for a shifted one the square of the shift."""
    evidence, _ = clouds()
    assert evidence.features is not None
    same = Evidence(evidence.features, evidence.features)
    assert metrics.frechet_distance(same) == pytest.approx(0, abs=1e-6)
    shifted = Evidence(evidence.features, evidence.features + 2)
    assert metrics.frechet_distance(shifted) == pytest.approx(12 * 4, rel=1e-6)


def test_the_inception_score_s_parts_are_always_the_same_and_leave_the_random_state() -> None:
    evidence, _ = clouds()
    before = torch.get_rng_state()
    scores = {metrics.inception_score(evidence) for _ in range(3)}
    assert len(scores) == 1 and torch.equal(before, torch.get_rng_state())


def label_maps() -> tuple[Any, Any]:
    """Maps and what is seen in their pictures; a class that neither has, and one only seen."""
    rng = np.random.default_rng(2)
    maps = rng.integers(0, 4, (5, 16, 16)).astype(np.uint8)
    seen = np.where(rng.random(maps.shape) < 0.6, maps, rng.integers(0, 5, maps.shape))
    return maps, seen.astype(np.uint8)


def evidence_of(maps: Any, seen: Any, classes: int) -> Evidence:
    pairs = zip(maps, seen, strict=True)
    return Evidence(confusion=np.stack([metrics.confusion_of(a, b, classes) for a, b in pairs]))


def test_ious_are_torchmetrics_s() -> None:
    maps, seen = label_maps()
    evidence = evidence_of(maps, seen, 6)
    given = torch.from_numpy(seen), torch.from_numpy(maps)
    for ours, average in (
        (metrics.mean_iou, "macro"),
        (metrics.frequency_weighted_iou, "weighted"),
    ):
        theirs = multiclass_jaccard_index(*given, num_classes=6, average=average)  # type: ignore[arg-type]
        assert ours(evidence) == pytest.approx(float(theirs), rel=1e-6)


def test_pixels_without_a_class_count_as_unseen_and_not_at_all_in_maps() -> None:
    maps = np.array([[[0, 0, 1, 255]]], np.uint8)
    seen = np.array([[[0, 255, 1, 1]]], np.uint8)
    evidence = evidence_of(maps, seen, 2)
    assert metrics.mean_iou(evidence) == pytest.approx((1 / 2 + 1) / 2)
    assert metrics.frequency_weighted_iou(evidence) == pytest.approx(2 / 3 * 1 / 2 + 1 / 3)


def test_diversity_is_the_mean_over_pairs() -> None:
    features = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    assert metrics.diversity(Evidence(features)) == pytest.approx((1 + 0 + 1) / 3)
    distances = np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0]], float)
    assert metrics.diversity(Evidence(features, distances=distances)) == pytest.approx(2)


def test_rows_can_be_taken_twice() -> None:
    _, given = clouds()
    rows = np.array([3, 3, 5])
    taken = Evidence(given["made"], given["real"], given["logits"], distances=np.eye(60)).take(rows)
    assert taken.features is not None and taken.logits is not None and taken.distances is not None
    assert np.array_equal(taken.features, given["made"][[3, 3, 5]])
    assert taken.reference is given["real"]
    assert taken.distances.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("metric", "evidence", "words"),
    [
        (metrics.frechet_distance, Evidence(np.ones((5, 2))), "no reference"),
        (metrics.frechet_distance, Evidence(np.ones((5, 2)), np.ones((5, 3))), "of 2 and of 3"),
        (metrics.frechet_distance, Evidence(np.ones((1, 2)), np.ones((5, 2))), "one picture"),
        (metrics.precision, Evidence(np.ones((5, 2)), np.ones((3, 2))), "3-th neighbours"),
        (metrics.inception_score, Evidence(logits=np.ones((5, 2))), "5 pictures in 10 parts"),
        (metrics.diversity, Evidence(np.ones((1, 2))), "diversity of 1"),
        (metrics.mean_iou, Evidence(), "no confusion"),
    ],
)
def test_what_lacks_for_a_metric_is_said(metric: Any, evidence: Evidence, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        metric(evidence)
