"""Guidance distillation: one row of an adapter learns what two rows of its teacher give."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from fgdm.export.adapter import TimestepAdapter
from torch import Tensor, nn
from transformers import CLIPTextModel

from .condition import NULL_SHARE, adapted_noise
from .diffusion import CaptionTokens, NoisingProcess, pick_captions
from .factor import PROMPT_PREFIXES, FactorData
from .loop import LoopOptions, freeze, mixed_precision, train_stage
from .presets import StageBudget
from .truth import FactorName


def train_guided(
    name: str,
    kind: FactorName,
    adapter: TimestepAdapter,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokens: CaptionTokens,
    process: NoisingProcess,
    data: FactorData,
    scale: float,
    budget: StageBudget,
    folder: Path,
    options: LoopOptions,
) -> None:
    """The adapter as it is teaches itself classifier-free guidance of one scale, so that a step
    takes one row (Meng et al. 2023, section 3.1, with w fixed). The base stays frozen.

    data: what the adapter learnt from; `seen` is None where it sees its own noisy latent.
    """
    teacher = copy.deepcopy(adapter)
    freeze(unet, text_encoder, teacher)
    with torch.no_grad(), mixed_precision(options.device):
        empty = text_encoder(tokens([""])).last_hidden_state

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        index = rng.integers(len(data.maps), size=budget.batch)
        clean = data.maps[index].to(options.device).float()
        noisy, _, timesteps = process.draw(clean, rng)
        seen = None if data.seen is None else data.seen[index].to(options.device).float()
        texts = [PROMPT_PREFIXES[kind] + text for text in pick_captions(data.captions, index, rng)]
        ids = tokens.with_null(texts, rng, NULL_SHARE)
        with mixed_precision(options.device):
            with torch.no_grad():
                context = text_encoder(ids).last_hidden_state
                without = empty.expand_as(context)
                plain = adapted_noise(unet, teacher, noisy, timesteps, without, seen)
                given = adapted_noise(unet, teacher, noisy, timesteps, context, seen)
            predicted = adapted_noise(unet, adapter, noisy, timesteps, context, seen)
        guided = plain.float() + scale * (given.float() - plain.float())
        before = process.loss(given, guided, timesteps)
        return process.loss(predicted, guided, timesteps), {"before": float(before)}

    train_stage(name, nn.ModuleDict({"adapter": adapter}), loss, budget, folder, options)
