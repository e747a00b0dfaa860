"""Stage 2: the text-to-image base, U-Net and text encoder together, from nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from .diffusion import CaptionTokens, NoisingProcess, pick_captions
from .loop import LoopOptions, mixed_precision, train_stage
from .presets import Preset

NULL_SHARE = 0.12
#: What a batch of small pictures is made of; the rest are pictures as rendered.
MAP_SHARE, POSTER_SHARE = 0.75, 0.1


def announced(kind: str, text: str) -> str:
    """The caption of a map or poster: the scene's caption, announced as such."""
    for opening in ("a photo of ", "a picture of ", "a scene with ", "there is "):
        text = text.removeprefix(opening)
    return f"a {kind} of {text}"


def train_base(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokens: CaptionTokens,
    process: NoisingProcess,
    small: tuple[Tensor, list[list[str]]],
    maps: tuple[Tensor, list[list[str]]],
    posters: tuple[Tensor, list[list[str]]],
    large: tuple[Tensor, list[list[str]]],
    preset: Preset,
    folder: Path,
    options: LoopOptions,
) -> None:
    """Train on latents of whole scenes, each set given as (latents, captions).

    Most small pictures are flat: label maps, captioned as maps, and posters, the same in random
    colours. Public base models have seen flat art too; an adapter can only steer towards what the
    frozen decoder can draw; and what a word looks like is learnt many times faster from flat
    pictures, which decides everything on a budget of two cores.
    """

    def draw(
        source: tuple[Tensor, list[list[str]]], count: int, kind: str, rng: np.random.Generator
    ) -> tuple[Tensor, list[str]]:
        index = rng.integers(len(source[0]), size=count)
        texts = pick_captions(source[1], index, rng)
        return source[0][index], [announced(kind, text) for text in texts] if kind else texts

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        late = step >= preset.large_from * preset.base.steps
        use_large = late and rng.random() < preset.large_share
        batch = preset.base.batch
        if use_large:
            parts = [draw(large, preset.base.large_batch, "", rng)]
        else:
            map_count, poster_count = int(batch * MAP_SHARE), int(batch * POSTER_SHARE)
            parts = [
                draw(small, batch - map_count - poster_count, "", rng),
                draw(maps, map_count, "map", rng),
                draw(posters, poster_count, "poster", rng),
            ]
        latents = torch.cat([part[0] for part in parts])
        texts = [text for part in parts for text in part[1]]
        clean = latents.to(options.device).float()
        noisy, noise, timesteps = process.draw(clean, rng)
        ids = tokens.with_null(texts, rng, NULL_SHARE)
        with mixed_precision(options.device):
            context = text_encoder(ids).last_hidden_state
            predicted = unet(noisy, timesteps, context).sample
        value = process.loss(predicted, noise, timesteps)
        return value, {"large" if use_large else "small": float(value.detach())}

    modules = nn.ModuleDict({"unet": unet, "text_encoder": text_encoder})
    train_stage("base", modules, loss, preset.base, folder, options)
