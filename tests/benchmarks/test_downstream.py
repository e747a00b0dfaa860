"""Protects the scores of the downstream benchmark, and how its sides are compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch isn't installed: pip install '.[train]'")

import torch
from fgdm.evaluate.dataset import Made
from fgdm.evaluate.dataset.store import Store
from fgdm.maps import encode_pose
from fgdm.picture_files import png
from fgdm.train.classes import palette_json
from fgdm.train.segmenter import Segmenter
from PIL import Image

from benchmarks import downstream
from benchmarks.keypoints import Keypoints


def test_scores_are_those_of_sets_of_pixels() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(np.array([0, 3, 255], np.uint8), (4, 8, 8))
    seen = rng.choice(np.array([0, 3, 5], np.uint8), (4, 8, 8))
    found = downstream.scores(downstream.confusion(labels, seen))
    ious, f1s = [], []
    for label in (0, 3):
        a, b = (labels == label), (seen == label) & (labels != 255)
        ious.append((a & b).sum() / (a | b).sum())
        f1s.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert found == pytest.approx({"miou": np.mean(ious), "f1": np.mean(f1s)})
    assert downstream.scores(downstream.confusion(labels, labels.clip(0, 22))) == {
        "miou": 1.0,
        "f1": 1.0,
    }


def test_gains_are_of_the_same_seed() -> None:
    runs = {
        "real": [{"miou": 0.1}, {"miou": 0.5}],
        "real and generated": [{"miou": 0.2}, {"miou": 0.6}],
    }
    gain = downstream.summarize(runs)["real and generated"]["miou"]["gain"]
    assert gain == pytest.approx({"estimate": 0.1, "low": 0.1, "high": 0.1})


def test_it_runs_on_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pairs that are scenes themselves."""
    pairs = downstream.Segmentation().real(1, 3, 32)
    head = {"factors": {"segmentation": {"output": "labels", "palette": palette_json()}}}
    with Store(tmp_path / "pairs") as store:
        store.begin(head, 3)
        for i in range(3):
            pictures = {"image": pairs.images[i], "segmentation": pairs.labels[i]}
            content = {name: png(Image.fromarray(array)) for name, array in pictures.items()}
            store.add(Made(i, {}, content))
    read = downstream.Segmentation().generated(tmp_path / "pairs", 3)
    assert np.array_equal(read.images, pairs.images) and np.array_equal(read.labels, pairs.labels)
    with pytest.raises(ValueError, match="has 3 such samples, expected 4"):
        downstream.Segmentation().generated(tmp_path / "pairs", 4)
    counts = ["--real", "2", "--generated", "3", "--test", "2", "--seeds", "2", "--steps", "2"]
    arguments = [str(tmp_path / "pairs"), *counts, "--batch", "2", "--width", "8"]
    output = tmp_path / "whole.json"
    assert downstream.main([*arguments, "--output", str(output)]) == 0
    assert "2 real scenes, 3 pairs, 2 seeds" in capsys.readouterr().out
    # In two commands: the second makes the second seed only, and ends where one command does.
    parts = ["--output", str(tmp_path / "parts.json"), "--resume"]
    assert downstream.main([*arguments, *parts, "--seeds", "1"]) == 0
    capsys.readouterr()
    assert downstream.main([*arguments, *parts]) == 0
    assert "seed 0, real" not in capsys.readouterr().err
    whole, resumed = (json.loads(p.read_text()) for p in (output, tmp_path / "parts.json"))
    assert resumed["runs"] == whole["runs"] and resumed["summary"] == whole["summary"]
    with pytest.raises(ValueError, match="of steps 2, not 3; resume with its settings"):
        downstream.main([*arguments, *parts, "--steps", "3"])


def test_a_network_that_knows_the_joints_has_no_error() -> None:
    """But that of pixels, in their middle; and less loss than one that is wrong."""
    task = Keypoints()
    test = task.real(5, 2, 64)
    assert test.images.shape == (2, 64, 64, 3) and test.labels.shape == (2, 18, 4)
    logits = torch.full((2, 18, 32, 32), -50.0)
    for i, person in enumerate(test.labels):
        for joint, (x, y, visible, _) in enumerate(person):
            if visible:
                logits[i, joint, int(y * 32), int(x * 32)] = 50.0

    class Knows(Segmenter):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return logits

    side = test.labels[:, 0, 3].min()
    assert 0 < task.scores(Knows(8), test)["nme"] < 0.71 / 32 / side
    assert float(task.loss(logits, test.labels)) < 1e-3
    assert float(task.loss(logits.roll(1, 3), test.labels)) > 50


def test_joints_are_read_from_pose_maps(tmp_path: Path) -> None:
    """Of samples with one person; others are left out."""
    real = Keypoints().real(5, 1, 128)
    person = real.labels[0, :, :3]
    black = np.zeros((128, 128, 3), np.uint8)
    with Store(tmp_path / "pairs") as store:
        store.begin({}, 2)
        for i, pose in enumerate((black, encode_pose([person], 128, 128))):
            pictures = {"image": real.images[0], "pose": pose}
            content = {name: png(Image.fromarray(array)) for name, array in pictures.items()}
            store.add(Made(i, {}, content))
    (read,) = Keypoints().generated(tmp_path / "pairs", 1).labels
    both = (read[:, 2] > 0) & (person[:, 2] > 0)
    assert both.sum() >= 3
    assert np.abs(read[both, :2] - person[both, :2]).max() < 0.02
    with pytest.raises(ValueError, match="has 1 such samples, expected 2"):
        Keypoints().generated(tmp_path / "pairs", 2)
