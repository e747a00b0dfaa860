"""The segmenter as an ONNX graph, and in the bundle that ships, sees what its weights see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fgdm.train.classes import palette_json
from fgdm.train.dataset import render_scenes
from fgdm.train.segmenter import load_segmenter, segment
from fgdm.train.segmenter_onnx import main
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("fgdm._core", reason="the compiled core isn't built")

from fgdm.engine import Engine
from fgdm.scorers import SegmenterScorer

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "benchmarks" / "segmenter.safetensors"


def seen_by_pytorch(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return segment(load_segmenter(WEIGHTS), pictures, torch.device("cpu"))


def test_the_graph_sees_what_its_weights_see(tmp_path: Path) -> None:
    """At sizes that it was not traced at."""
    file = tmp_path / "segmenter.onnx"
    assert main([str(WEIGHTS), str(file)]) == 0
    assert file.stat().st_size < 1.1 * WEIGHTS.stat().st_size, "numbers stay in float16"
    scorer = SegmenterScorer(file, palette_json())
    scenes = render_scenes(7, 2, 128, 64).images
    for pictures in (scenes, scenes[:, :64, :96].copy()):
        for picture, expected in zip(pictures, seen_by_pytorch(pictures), strict=True):
            labels = scorer.labels(Image.fromarray(picture))
            assert labels.shape == expected.shape and (labels == expected).mean() > 0.999


def test_the_bundle_that_ships_reads_maps_from_pictures() -> None:
    scenes = render_scenes(11, 4, 128, 64)
    with Engine(ROOT / "bundles" / "scenes", backend="cpu", threads=1) as engine:
        seen = np.stack([engine.segment(picture) for picture in scenes.images])
    assert (seen == seen_by_pytorch(scenes.images)).mean() > 0.999
    assert (seen == scenes.labels).mean() > 0.95, "the scenes' own labels"
