"""The whole chain in `fgdm.Engine` against loops that diffusers' own pipelines run (`chain.py`):
noise predictions and latents agree within 1e-4 of their scale, pictures to 40 dB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import StableDiffusionControlNetPipeline
from fgdm.export.adapter import TimestepAdapter
from fgdm.statistics import psnr

from tests.export.chain import (
    Settings,
    Trace,
    cache_deep_features,
    load_pipeline,
    reference_image,
    reference_maps,
    run_engine,
)
from tests.tiny_models import IMAGE_SIZE, PALETTE

pytest.importorskip("fgdm._core", reason="the compiled core isn't built")

SETTINGS = Settings(IMAGE_SIZE, downscale=4)
TOLERANCE = 1e-4

Generated = Callable[[str], tuple[Any, dict[str, Trace]]]


@pytest.fixture(scope="module")
def generated(tiny_bundle: Path) -> Generated:
    """Runs the engine once per kind of guidance: its result, and a trace per factor."""
    return cache(lambda guidance: run_engine(tiny_bundle, SETTINGS, guidance))


@pytest.fixture
def pipeline(tiny_bundle: Path) -> StableDiffusionControlNetPipeline:
    return load_pipeline(tiny_bundle)


def test_maps(
    pipeline: StableDiffusionControlNetPipeline, tiny_bundle: Path, generated: Generated
) -> None:
    adapter = TimestepAdapter.from_pretrained(tiny_bundle / "adapter_segmentation").eval()
    pictures, trace = reference_maps(pipeline, adapter, SETTINGS)
    result, traces = generated("cfg")
    assert traces["segmentation"].worst_error(trace) <= TOLERANCE
    colors = np.array([entry["color"] for entry in PALETTE["classes"]])
    for candidate, picture in zip(result.candidates, pictures, strict=True):
        nearest = np.abs(picture[:, :, None] - colors).max(-1).min(-1)
        chosen = np.asarray(candidate.map).astype(int)
        assert (chosen[:, :, None] == colors).all(-1).any(-1).all(), "only palette colours"
        # One step of 255 is what rounding may add between equally near colours.
        assert (np.abs(picture - chosen).max(-1) <= nearest + 1).all()


@pytest.mark.parametrize("guidance", ["cfg", "segfree"])
def test_image(
    guidance: str, pipeline: StableDiffusionControlNetPipeline, generated: Generated
) -> None:
    result, traces = generated(guidance)
    expected, trace = reference_image(pipeline, SETTINGS, guidance, np.asarray(result.map))
    assert traces["image"].worst_error(trace) <= TOLERANCE
    assert expected.std() > 5, "the pictures hold something to compare"
    # Measured: 89 dB, which is a few numbers that round the other way.
    assert psnr(np.asarray(result.image), expected) >= 60


@pytest.mark.parametrize(
    ("guidance", "level", "whole_steps"),
    # The negative branch of segmentation-free guidance begins with step 3.
    [("cfg", 1, {0, 2, 4}), ("cfg", 2, {0, 2, 4}), ("segfree", 1, {0, 2, 3, 4})],
)
def test_cached_image(
    guidance: str,
    level: int,
    whole_steps: set[int],
    tiny_bundle: Path,
    pipeline: StableDiffusionControlNetPipeline,
) -> None:
    settings = replace(SETTINGS, cache_interval=2, cache_level=level)
    result, traces = run_engine(tiny_bundle, settings, guidance)
    cache_deep_features(pipeline, level, whole_steps)
    expected, trace = reference_image(pipeline, settings, guidance, np.asarray(result.map))
    assert traces["image"].worst_error(trace) <= TOLERANCE
    assert psnr(np.asarray(result.image), expected) >= 60


def test_float16_graphs_paint_the_same_picture(
    tiny_fp16_bundle: Path, generated: Generated
) -> None:
    """The core hands float16 contexts, hints and residuals from graph to graph."""
    result, _ = run_engine(tiny_fp16_bundle, SETTINGS, "segfree")
    expected, _ = generated("segfree")
    # Measured: 64 dB.
    assert psnr(np.asarray(result.image), np.asarray(expected.image)) >= 50


def test_segfree_is_not_cfg(generated: Generated) -> None:
    (_, cfg), (_, segfree) = generated("cfg"), generated("segfree")
    first, last = SETTINGS.image_steps // 2 - 1, SETTINGS.image_steps // 2
    assert np.allclose(cfg["image"].noise[first], segfree["image"].noise[first], atol=1e-6)
    assert np.abs(cfg["image"].noise[last] - segfree["image"].noise[last]).max() > 0.01
