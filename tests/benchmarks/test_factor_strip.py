"""Every map of a chain and its image are in the strip, whole and in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fgdm import Engine, drawing
from PIL import Image

from benchmarks.factor_strip import main, strip

PROMPT = "a dog beside a house"


@pytest.mark.nightly
@pytest.mark.slow
def test_all_factors_are_in_the_strip(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = untrained / "bundles" / "scenes"
    with Engine(bundle, backend="cpu", threads=1) as engine:
        result = engine.generate(
            PROMPT,
            seed=3,
            candidates=2,
            condition_steps=1,
            num_inference_steps=1,
            factors={name: {} for name in ("depth", "normal", "sketch", "pose")},
        )
    pixels = np.asarray(strip(result))
    lefts = []
    for factor in result.factors.values():
        shown = np.asarray(drawing.enlarge(factor.map, 192))
        height, width = shown.shape[:2]
        windows = np.lib.stride_tricks.sliding_window_view(pixels, (1, width, 3))[:, :, 0, 0]
        places = np.argwhere((windows == shown[0]).all((-1, -2)))
        whole = [
            left
            for top, left in places
            if np.array_equal(pixels[top : top + height, left : left + width], shown)
        ]
        assert len(whole) == 1
        lefts += whole
    assert lefts == sorted(lefts)
    assert pixels.shape[1] > lefts[-1] + 2 * 192  # the image comes last

    output = tmp_path / "strip.png"
    options = ["--prompt", PROMPT, "--candidates", "2", "--steps", "1", "--threads", "1"]
    assert main([str(bundle), *options, "--output", str(output)]) == 0
    assert "segmentation, depth, normal, sketch, pose, image" in capsys.readouterr().out
    with Image.open(output) as written:
        assert written.size == (pixels.shape[1], pixels.shape[0])
    assert list(tmp_path.iterdir()) == [output]
