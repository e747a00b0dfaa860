"""Two condition factors at Stable Diffusion 1.5's shapes, one after another and jointly, against
the loop over diffusers' classes that `tests/export/test_factor_graph.py` has for tiny models."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from fgdm import Engine, Result
from fgdm.export.reference import Reference
from fgdm.factor_result import FactorResult
from fgdm.statistics import psnr
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from tests.export.test_factor_graph import NEGATIVE, PROMPT, SCALE, STEPS, Loop
from tests.full_size.measured import measured
from tests.full_size.sd15 import IMAGE_SIZE

pytestmark = pytest.mark.full_size

Array = NDArray[np.float32]
FACTORS = ("segmentation", "depth")
JOINT = {"sequential": (), "joint": FACTORS}
TOLERANCE, MAX_BYTES = 1e-3, 16e9


class Sampled(NamedTuple):
    """The clean latents that each step of a factor predicts, and what came of them."""

    clean: dict[str, list[Array]]
    result: Result


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The depth sees the segmentation, and the image sees both maps."""
    output = tmp_path_factory.mktemp("bundles") / "two"
    adapter = checkpoint / "adapter"
    taken = measured(
        "export",
        *("--base", str(checkpoint / "base")),
        *("--adapter", f"segmentation={adapter}"),
        *("--adapter", f"depth:segmentation={adapter}"),
        *("--controlnet", f"segmentation={checkpoint / 'controlnet'}"),
        *("--controlnet", f"depth={checkpoint / 'controlnet_2'}:0.5"),
        *("--palette", str(checkpoint / "palette.json")),
        *("--image-size", f"{IMAGE_SIZE}x{IMAGE_SIZE}"),
        *("--output", str(output)),
        "--no-check",  # the picture is compared below
    )
    assert taken["bytes"] <= MAX_BYTES
    return output


@pytest.fixture(scope="module")
def noise(bundle: Path) -> dict[str, Array]:
    rng = np.random.default_rng(3)
    reference = Reference(bundle)
    return {
        factor["name"]: rng.standard_normal(
            (1, 4, factor["height"] // 8, factor["width"] // 8), np.float32
        )
        for factor in [*reference.conditions, reference.image]
    }


@pytest.fixture(scope="module")
def sampled(bundle: Path, noise: dict[str, Array]) -> dict[str, Sampled]:
    """What the engine does. Then it is closed: beside diffusers' networks it takes too much."""
    found = {}
    with Engine(bundle, backend="cpu") as engine:
        for mode, joint in JOINT.items():
            clean: dict[str, list[Array]] = {name: [] for name in FACTORS}

            def watch(info: Any, clean: dict[str, list[Array]] = clean) -> None:
                if info.factor != "image":
                    clean[info.factor].append(info.predicted_x0())

            result = engine.generate(
                PROMPT,
                negative_prompt=NEGATIVE,
                factors={name: {"latents": noise[name], "candidates": 1} for name in FACTORS},
                joint=joint,
                condition_steps=STEPS,
                condition_guidance_scale=SCALE,
                num_inference_steps=STEPS,
                guidance="cfg",
                guidance_scale=SCALE,
                latents=noise["image"],
                seed=1,
                step_callback=watch,
            )
            found[mode] = Sampled(clean, result)
    return found


def _enlarged(factor: FactorResult, how: str) -> NDArray[Any]:
    planes = torch.from_numpy(np.asarray(factor.map, np.float32)).permute(2, 0, 1)[None]
    larger = interpolate(planes, (IMAGE_SIZE, IMAGE_SIZE), mode=how)
    return np.asarray(larger[0].permute(1, 2, 0).numpy())


@pytest.mark.parametrize("mode", JOINT)
def test_every_step_is_that_of_an_independent_loop(
    mode: str, bundle: Path, noise: dict[str, Array], sampled: dict[str, Sampled]
) -> None:
    reference = Reference(bundle)
    loop = Loop(reference, noise)
    for group in [JOINT[mode]] if JOINT[mode] else [(name,) for name in FACTORS]:
        loop.run(group)
    clean, result = sampled[mode]
    for name in FACTORS:
        errors = [
            float(np.abs(ours - theirs).max() / np.abs(theirs).max())
            for ours, theirs in zip(clean[name], loop.clean[name], strict=True)
        ]
        print(f"{mode} {name}: largest relative error of a step {max(errors):.1e}")
        assert max(errors) <= TOLERANCE

    maps = {
        "segmentation": _enlarged(result.factors["segmentation"], "nearest"),
        "depth": _enlarged(result.factors["depth"], "bilinear"),
    }
    theirs = reference.picture([PROMPT, NEGATIVE], noise["image"], STEPS, SCALE, maps, loop.latents)
    found = psnr(np.asarray(result.image), theirs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{mode}: the picture's PSNR {found:.1f} dB; {peak / 1e9:.1f} GB at most")
    assert found >= 40
    assert peak <= MAX_BYTES
