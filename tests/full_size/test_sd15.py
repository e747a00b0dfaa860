"""Stable Diffusion 1.5's shapes with random weights: export within its limits of time and memory,
and the whole chain against diffusers, as `tests/export/test_chain.py` has it for tiny models."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import MultiControlNetModel, StableDiffusionControlNetPipeline
from fgdm.export.adapter import TimestepAdapter
from fgdm.statistics import psnr

from tests.export.chain import (
    Settings,
    Trace,
    load_pipeline,
    reference_image,
    reference_maps,
    run_engine,
)
from tests.full_size.measured import build_for_tensorrt_rtx, measured
from tests.full_size.sd15 import IMAGE_SIZE

pytestmark = pytest.mark.full_size

MAX_SECONDS, MAX_BYTES = 600, 14e9
TOLERANCE = 1e-3
NOISE_SEED = 32  # with 31, two tokens of one patch are as good as tied
#: A bundle with two ControlNets of which one has no weight is a bundle with one.
CASES = {"cfg": ("cfg", (0.8, 0.0)), "segfree": ("segfree", (0.8, 0.0)), "two": ("cfg", (0.8, 0.5))}


def settings(scales: tuple[float, ...]) -> Settings:
    return Settings(
        IMAGE_SIZE,
        downscale=8,
        map_steps=4,
        image_steps=4,
        conditioning_scales=scales,
        noise_seed=NOISE_SEED,
    )


def export(checkpoint: Path, output: Path, *options: str) -> dict[str, float]:
    arguments = [
        *("--base", str(checkpoint / "base")),
        *("--adapter", f"segmentation={checkpoint / 'adapter'}"),
        *("--controlnet", str(checkpoint / "controlnet")),
        *("--controlnet", str(checkpoint / "controlnet_2")),
        *("--palette", str(checkpoint / "palette.json")),
        *("--image-size", f"{IMAGE_SIZE}x{IMAGE_SIZE}"),
        *("--output", str(output)),
        *options,
    ]
    return measured("export", *arguments)


@pytest.fixture(scope="module")
def exported(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, dict[str, float]]]:
    """The bundle of a precision, and what exporting it took."""

    @cache
    def make(precision: str) -> tuple[Path, dict[str, float]]:
        output = tmp_path_factory.mktemp("bundles") / precision
        return output, export(checkpoint, output, "--precision", precision)

    return make


Exported = Callable[[str], tuple[Path, dict[str, float]]]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_export_stays_within_its_limits(precision: str, exported: Exported) -> None:
    bundle, taken = exported(precision)
    assert taken["seconds"] <= MAX_SECONDS
    assert taken["bytes"] <= MAX_BYTES
    parameters = sum(path.stat().st_size for path in bundle.glob("*/*.safetensors"))
    everything = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    assert everything <= 1.02 * parameters, "weights lie on disk once"


@pytest.fixture(scope="module")
def generated(exported: Exported) -> Callable[[str], tuple[Any, dict[str, Trace]]]:
    """The engine's result and traces of a case."""

    @cache
    def run(case: str) -> tuple[Any, dict[str, Trace]]:
        guidance, scales = CASES[case]
        return run_engine(exported("fp32")[0], settings(scales), guidance)

    return run


@pytest.fixture(scope="module")
def pipeline(
    exported: Exported, generated: Callable[[str], tuple[Any, dict[str, Trace]]]
) -> StableDiffusionControlNetPipeline:
    """diffusers' pipeline, once the engine has done its part: both at once need 16 GB."""
    for case in CASES:
        generated(case)
    return load_pipeline(exported("fp32")[0])


def check(trace: Trace, expected: Trace) -> None:
    error = trace.relative_error(expected)
    print(f"relative error {error:.1e}, at the worst place {trace.worst_error(expected):.1e}")
    assert error <= TOLERANCE


def test_maps(
    pipeline: StableDiffusionControlNetPipeline,
    exported: Exported,
    generated: Callable[[str], tuple[Any, dict[str, Trace]]],
) -> None:
    adapter = TimestepAdapter.from_pretrained(exported("fp32")[0] / "adapter_segmentation")
    _, trace = reference_maps(pipeline, adapter.float().eval(), settings((0.8, 0.0)))
    _, traces = generated("cfg")
    check(traces["segmentation"], trace)


@pytest.mark.parametrize("case", CASES)
def test_image(
    case: str,
    pipeline: StableDiffusionControlNetPipeline,
    generated: Callable[[str], tuple[Any, dict[str, Trace]]],
) -> None:
    guidance, scales = CASES[case]
    assert isinstance(pipeline.controlnet, MultiControlNetModel)
    result, traces = generated(case)
    expected, trace = reference_image(pipeline, settings(scales), guidance, np.asarray(result.map))
    check(traces["image"], trace)
    assert psnr(np.asarray(result.image), expected) >= 40


def test_float16_paints_the_same_picture(
    exported: Exported, generated: Callable[[str], tuple[Any, dict[str, Trace]]]
) -> None:
    """Its PSNR against float32 is printed; 30 dB is a difference that nobody sees."""
    expected, _ = generated("segfree")
    result, _ = run_engine(exported("fp16")[0], settings((0.8, 0.0)), "segfree")
    found = psnr(np.asarray(result.image), np.asarray(expected.image))
    print(f"float16 against float32: {found:.1f} dB")
    assert found >= 30


def test_the_float16_backbone_builds_for_tensorrt_rtx(exported: Exported) -> None:
    """Ahead of time, for three architectures, in one plan."""
    bundle, _ = exported("fp16")
    (plan,) = build_for_tensorrt_rtx(
        bundle, "--graphs", "backbone", "--max-candidates", "1", "--share-weights"
    )
    half = IMAGE_SIZE // 2
    assert plan.metadata is not None
    assert set(plan.metadata.profiles) == {
        (side, side, rows) for side in (half, IMAGE_SIZE) for rows in (1, 2)
    }
