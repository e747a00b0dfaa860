"""Stage 2: the text-to-image base, U-Net and text encoder together, from noise and captions alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from .diffusion import CaptionTokens, NoisingProcess, pick_captions
from .loop import LoopOptions, train_stage
from .presets import Preset

NULL_SHARE = 0.12
POSTER_SHARE = 0.2
#: The last part of the training sees large pictures in most steps.
LARGE_FROM, LARGE_SHARE = 0.55, 0.6


def poster_caption(text: str) -> str:
    """The caption of a poster: the scene's caption, announced as such."""
    for opening in ("a photo of ", "a picture of ", "a scene with ", "there is "):
        text = text.removeprefix(opening)
    return f"a poster of {text}"


def train_base(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokens: CaptionTokens,
    process: NoisingProcess,
    small: tuple[Tensor, list[list[str]]],
    posters: tuple[Tensor, list[list[str]]],
    large: tuple[Tensor, list[list[str]]],
    preset: Preset,
    folder: Path,
    options: LoopOptions,
) -> None:
    """Train on latents of whole scenes, each set given as (latents, captions).

    A fifth of the small batches are posters, flat pictures in random colours: public base models
    have seen flat art too, and an adapter can only steer towards what the frozen decoder can draw.
    """

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        use_large = step >= LARGE_FROM * preset.base.steps and rng.random() < LARGE_SHARE
        if use_large:
            count = max(1, preset.base.batch // 4)
            index = rng.integers(len(large[0]), size=count)
            latents, texts = large[0][index], pick_captions(large[1], index, rng)
        else:
            count = preset.base.batch
            poster_count = int(count * POSTER_SHARE)
            index = rng.integers(len(small[0]), size=count - poster_count)
            poster_index = rng.integers(len(posters[0]), size=poster_count)
            latents = torch.cat([small[0][index], posters[0][poster_index]])
            texts = pick_captions(small[1], index, rng)
            texts += [poster_caption(t) for t in pick_captions(posters[1], poster_index, rng)]
        clean = latents.to(options.device).float()
        noisy, noise, timesteps = process.draw(clean, rng)
        ids = tokens.with_null(texts, rng, NULL_SHARE)
        with torch.autocast(options.device.type, torch.bfloat16):
            context = text_encoder(ids).last_hidden_state
            predicted = unet(noisy, timesteps, context).sample
        value = process.loss(predicted, noise, timesteps)
        return value, {"large" if use_large else "small": float(value.detach())}

    modules = nn.ModuleDict({"unet": unet, "text_encoder": text_encoder})
    train_stage("base", modules, loss, preset.base, folder, options)
