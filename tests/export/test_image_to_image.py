"""A picture from a picture equals diffusers' pipelines on the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionControlNetInpaintPipeline,
    UNet2DConditionModel,
)
from fgdm.engine import Engine
from fgdm.export.reference import make_scheduler
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

SCENES = Path(__file__).parents[2] / "bundles" / "scenes"
pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # diffusers

PROMPT = "a red house beside a tree"
SIDE, STEPS, SCALE = 128, 6, 4.0


@pytest.fixture(scope="module")
def engine() -> Any:
    with Engine(SCENES, backend="cpu", threads=1) as opened:
        yield opened


def _pipeline(kind: Any, manifest: dict[str, Any], sampler: str) -> Any:
    load = {"torch_dtype": torch.float32}
    pipeline = kind(
        vae=AutoencoderKL.from_pretrained(SCENES / "vae", **load),
        text_encoder=CLIPTextModel.from_pretrained(SCENES / "text_encoder", dtype=torch.float32),
        tokenizer=CLIPTokenizer.from_pretrained(SCENES / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(SCENES / "unet", **load),
        controlnet=ControlNetModel.from_pretrained(SCENES / "controlnet_segmentation", **load),
        scheduler=make_scheduler(manifest["scheduler"], sampler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _labels() -> NDArray[np.uint8]:
    labels = np.zeros((SIDE // 2, SIDE // 2), np.uint8)
    labels[30:] = 2
    labels[20:50, 12:40] = 7
    return labels


def _picture() -> Image.Image:
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _encoded(pipeline: Any, picture: Image.Image) -> torch.Tensor:
    """The mean of the autoencoder's posterior, which the engine takes; diffusers draws from it."""
    pixels = pipeline.image_processor.preprocess(picture)
    with torch.no_grad():
        mean = pipeline.vae.encode(pixels).latent_dist.mode()
    latents: torch.Tensor = mean * pipeline.vae.config.scaling_factor
    return latents


def _psnr(a: NDArray[Any], b: NDArray[Any]) -> float:
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / max(float(error), 1e-12)))


def _options(sampler: str) -> dict[str, Any]:
    return {
        "factors": {"segmentation": {"map": _labels()}},
        "num_inference_steps": STEPS,
        "sampler": sampler,
        "timestep_spacing": "leading",
        "cache_interval": 1,
        "guidance": "cfg",
        "guidance_scale": SCALE,
        "seed": 3,
    }


@pytest.mark.parametrize("sampler", ["ddim", "dpmsolver++"])
def test_image_to_image(engine: Engine, sampler: str) -> None:
    pipeline = _pipeline(StableDiffusionControlNetImg2ImgPipeline, engine.manifest, sampler)
    start = _encoded(pipeline, _picture())
    noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(9))
    ours = engine.generate(
        PROMPT, image=_picture(), strength=0.7, latents=noise, **_options(sampler)
    )
    control = ours.factors["segmentation"].map.resize((SIDE, SIDE), Image.Resampling.NEAREST)
    theirs = pipeline(
        PROMPT,
        image=start,
        control_image=control,
        strength=0.7,
        num_inference_steps=STEPS,
        guidance_scale=SCALE,
        controlnet_conditioning_scale=1.0,  # these two pipelines' own are 0.8 and 0.5
        generator=torch.Generator().manual_seed(9),
    ).images[0]
    assert _psnr(np.asarray(ours.image), np.asarray(theirs)) >= 45


@pytest.mark.parametrize(("sampler", "strength"), [("ddim", 1.0), ("dpmsolver++", 0.7)])
def test_inpainting(
    engine: Engine, sampler: str, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = _pipeline(StableDiffusionControlNetInpaintPipeline, engine.manifest, sampler)
    start = _encoded(pipeline, _picture())
    monkeypatch.setattr(pipeline, "_encode_vae_image", lambda image, generator: start)
    noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(9))
    anew = np.zeros((SIDE, SIDE), bool)
    anew[32:96, 16:80] = True  # whole cells of the latents
    ours = engine.generate(
        PROMPT, image=_picture(), mask=anew, strength=strength, latents=noise, **_options(sampler)
    )
    control = ours.factors["segmentation"].map.resize((SIDE, SIDE), Image.Resampling.NEAREST)
    theirs = pipeline(
        PROMPT,
        image=_picture(),
        mask_image=Image.fromarray(255 * anew.astype(np.uint8)),
        control_image=control,
        strength=strength,
        num_inference_steps=STEPS,
        guidance_scale=SCALE,
        controlnet_conditioning_scale=1.0,
        # Not latents=noise: with a strength below 1 it would begin there, without the image.
        generator=torch.Generator().manual_seed(9),
        height=SIDE,
        width=SIDE,
    ).images[0]
    painted = np.asarray(ours.image)
    assert _psnr(painted[anew], np.asarray(theirs)[anew]) >= 45
    assert (painted[~anew] == np.asarray(_picture())[~anew]).all()
