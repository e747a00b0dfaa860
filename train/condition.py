"""Stage 3: the segmentation factor, a timestep-conditioned adapter over the frozen base."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from fgdm.export.adapter import TimestepAdapter, timestep_embedding
from torch import Tensor, nn
from transformers import CLIPTextModel

from .diffusion import CaptionTokens, NoisingProcess, pick_captions
from .distill import attention_distillation_loss, record_attention
from .loop import LoopOptions, freeze, mixed_precision, train_stage
from .presets import Preset

NULL_SHARE = 0.2  # FG-DM, section 3.3
#: What a map's prompt starts with: the base has met maps under that name (joint prompting).
PROMPT_PREFIX = "a map of "


def adapted_noise(
    unet: UNet2DConditionModel,
    adapter: TimestepAdapter,
    noisy: Tensor,
    timesteps: Tensor,
    context: Tensor,
    seen: Tensor | None = None,
) -> Tensor:
    """ε of the condition factor: the base with the adapter's features added to its encoder.

    seen: what the adapter sees, if it isn't the factor's own noisy latent.
    """
    embedding = timestep_embedding(unet, timesteps, noisy.dtype)
    features = adapter(noisy if seen is None else seen, embedding)
    predicted: Tensor = unet(
        noisy, timesteps, context, down_intrablock_additional_residuals=features
    ).sample
    return predicted


def train_adapter(
    name: str,
    adapter: TimestepAdapter,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokens: CaptionTokens,
    process: NoisingProcess,
    maps: Tensor,
    images: Tensor,
    captions: list[list[str]],
    preset: Preset,
    folder: Path,
    options: LoopOptions,
    distill_weight: float,
) -> None:
    """ε-prediction on map latents plus λ times the attention distillation loss (eq. 8).

    maps, images: (n, 4, h, w) latents of the same scenes. The teacher is the frozen base itself; it
    looks at the picture that belongs to the map, under the same noise and timestep, so that what it
    attends to is what it knows.
    """
    freeze(unet, text_encoder)

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        index = rng.integers(len(maps), size=preset.adapter.batch)
        clean = maps[index].to(options.device).float()
        noisy, noise, timesteps = process.draw(clean, rng)
        texts = [PROMPT_PREFIX + text for text in pick_captions(captions, index, rng)]
        ids = tokens.with_null(texts, rng, NULL_SHARE)
        distilled = distill_weight > 0 and step % preset.distill_every == 0
        with mixed_precision(options.device):
            with torch.no_grad():
                context = text_encoder(ids).last_hidden_state
            if not distilled:
                predicted = adapted_noise(unet, adapter, noisy, timesteps, context)
                value = process.loss(predicted, noise, timesteps)
                return value, {"epsilon": float(value.detach())}
            predicted, student = record_attention(
                unet, lambda: adapted_noise(unet, adapter, noisy, timesteps, context)
            )
            alpha = process.alphas[timesteps][:, None, None, None]
            picture = images[index].to(options.device).float()
            picture = alpha.sqrt() * picture + (1 - alpha).sqrt() * noise
            with torch.no_grad():
                _, teacher = record_attention(
                    unet, lambda: unet(picture, timesteps, context).sample
                )
        value = process.loss(predicted, noise, timesteps)
        divergence = attention_distillation_loss(teacher, student)
        logged = {"epsilon": float(value.detach()), "attention_kl": float(divergence.detach())}
        return value + distill_weight * divergence, logged

    train_stage(name, nn.ModuleDict({"adapter": adapter}), loss, preset.adapter, folder, options)
