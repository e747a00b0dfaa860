"""The base alone in the engine's runtime paints what diffusers paints from the same noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from benchmarks.base import paint_base, write_base_bundle
from benchmarks.rival import DiffusersChain

pytest.importorskip("fgdm._core", reason="the compiled core isn't built")


def test_the_base_bundle_paints_the_bases_images(tiny_bundle: Path, tmp_path: Path) -> None:
    from fgdm import Engine  # noqa: PLC0415 (needs the compiled core)

    manifest = json.loads((tiny_bundle / "manifest.json").read_text())
    image = manifest["factors"][-1]
    cells = image["height"] // manifest["autoencoder"]["downscale"]
    noise = np.random.default_rng(6).standard_normal((3, 4, cells, cells), np.float32)
    prompt = "a dog and a ball on the grass"
    bundle = write_base_bundle(tiny_bundle, tmp_path / "base")
    with Engine(bundle, backend="cpu", precision="fp32") as engine:
        painted = paint_base(engine, prompt, noise, condition_steps=4)
    chain = DiffusersChain(tiny_bundle, manifest)
    # The engine shows the last step's predicted x₀; diffusers ends there with this option.
    chain.base_pipeline.scheduler = DDIMScheduler.from_config(
        chain.scheduler.config, set_alpha_to_one=True
    )
    scale = image["guidance_scale"]
    expected = chain.base_pictures(prompt, torch.from_numpy(noise), 4, scale)
    assert painted.shape == expected.shape == (3, image["height"], image["width"], 3)
    assert np.abs(painted.astype(int) - expected).max() <= 1
    assert ((painted > 0) & (painted < 255)).mean() > 0.3, "pictures, not black and white"
    assert np.abs(painted[0].astype(int) - painted[1]).max() > 1, "each has its own noise"
