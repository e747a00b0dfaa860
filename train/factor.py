"""A condition factor whose adapter sees the map of an earlier factor, mostly the segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from fgdm.export.adapter import TimestepAdapter
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPTextModel

from .condition import NULL_SHARE, PROMPT_PREFIX, adapted_noise
from .diffusion import CaptionTokens, NoisingProcess, pick_captions
from .loop import LoopOptions, freeze, mixed_precision, train_stage
from .presets import StageBudget
from .truth import FactorName

#: What a map's prompt starts with.
PROMPT_PREFIXES: dict[FactorName, str] = {
    "segmentation": PROMPT_PREFIX,
    "depth": "a depth map of ",
    "normal": "a normal map of ",
    "sketch": "a sketch of ",
    "pose": "a pose of ",
}
#: The share of a batch that is drawn from the scenes whose map isn't empty.
_SHOWN_SHARE = 0.75


@dataclass(frozen=True)
class FactorData:
    """What a factor learns from.

    maps, seen: (n, 4, h, w) latents of the same scenes, of the factor and of what its adapter sees;
    without `seen` it sees its own noisy latent. captions: of each scene. areas: (n, h, w) how much
    each latent cell counts. shown: numbers of the scenes whose map isn't empty.
    """

    maps: Tensor
    seen: Tensor | None
    captions: list[list[str]]
    areas: Tensor | None = None
    shown: NDArray[np.int64] | None = None


def train_factor(
    name: str,
    kind: FactorName,
    adapter: TimestepAdapter,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokens: CaptionTokens,
    process: NoisingProcess,
    data: FactorData,
    budget: StageBudget,
    folder: Path,
    options: LoopOptions,
) -> None:
    """ε-prediction on map latents; the adapter sees the clean latent of another map, zeros in a
    fifth of the samples (the null condition; FG-DM, section 3.3). name: of the stage."""
    freeze(unet, text_encoder)

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        index = _draw(data, budget.batch, rng)
        clean = data.maps[index].to(options.device).float()
        noisy, noise, timesteps = process.draw(clean, rng)
        kept = torch.from_numpy(rng.random(len(index)) >= NULL_SHARE).to(options.device)
        seen = None
        if data.seen is not None:
            seen = data.seen[index].to(options.device).float() * kept[:, None, None, None]
        texts = [PROMPT_PREFIXES[kind] + text for text in pick_captions(data.captions, index, rng)]
        ids = tokens.with_null(texts, rng, NULL_SHARE)
        areas = None if data.areas is None else data.areas[index].to(options.device)
        with mixed_precision(options.device):
            with torch.no_grad():
                context = text_encoder(ids).last_hidden_state
            predicted = adapted_noise(unet, adapter, noisy, timesteps, context, seen)
        return process.loss(predicted, noise, timesteps, areas), {}

    train_stage(name, nn.ModuleDict({"adapter": adapter}), loss, budget, folder, options)


def _draw(data: FactorData, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    index = rng.integers(len(data.maps), size=count)
    if data.shown is not None and len(data.shown):
        from_shown = rng.random(count) < _SHOWN_SHARE
        index = np.where(from_shown, data.shown[rng.integers(len(data.shown), size=count)], index)
    return np.asarray(index, np.int64)
