"""Joint fine-tuning of the segmentation and the image factor (FG-DM, A.2.4)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from fgdm.export.adapter import TimestepAdapter
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel

from .condition import NULL_SHARE, PROMPT_PREFIX, adapted_noise
from .diffusion import CaptionTokens, NoisingProcess, pick_captions
from .loop import LoopOptions, freeze, mixed_precision, train_stage
from .painter import area_weights
from .presets import StageBudget

#: Latents have unit variance; predictions from much noise go far beyond what a map's can be.
_LARGEST_LATENT = 4.0


@dataclass(frozen=True)
class JointModels:
    """The models of both factors; `prepare` says which of them learn."""

    adapter: TimestepAdapter
    controlnet: ControlNetModel
    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    vae: AutoencoderKL

    def prepare(self) -> nn.ModuleDict:
        """Freezes all but the adapter and the ControlNet's hint block, which are returned."""
        freeze(self.controlnet, self.unet, self.text_encoder, self.vae)
        learning = nn.ModuleDict(
            {"adapter": self.adapter, "hint": self.controlnet.controlnet_cond_embedding}
        )
        return learning.requires_grad_(True)


@dataclass(frozen=True)
class JointData:
    """Latents of pictures (n, 4, h, w) and of their label maps (n, 4, h / 2, w / 2), the labels
    (n, s, s) behind them, captions."""

    pictures: Tensor
    maps: Tensor
    labels: NDArray[np.uint8]
    captions: list[list[str]]


def joint_losses(
    models: JointModels,
    tokens: CaptionTokens,
    process: NoisingProcess,
    data: JointData,
    index: NDArray[np.int64],
    rng: np.random.Generator,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """The errors of the map's and of the picture's ε, both at one timestep: two scalars.

    The ControlNet sees the map that the first factor's prediction decodes to, so that the second
    error reaches the adapter too.
    """
    picture, clean_map = (of[index].to(device).float() for of in (data.pictures, data.maps))
    noisy, noise, timesteps = process.draw(picture, rng)
    noisy_map, map_noise = process.noised(clean_map, timesteps, rng)
    texts = pick_captions(data.captions, index, rng)
    texts = ["" if rng.random() < NULL_SHARE else text for text in texts]
    areas = area_weights(data.labels[index], picture.shape[-1]).to(device)
    with mixed_precision(device):
        with torch.no_grad():
            map_texts = [PROMPT_PREFIX + text if text else "" for text in texts]
            context = models.text_encoder(tokens(texts)).last_hidden_state
            map_context = models.text_encoder(tokens(map_texts)).last_hidden_state
        predicted_map = adapted_noise(
            models.unet, models.adapter, noisy_map, timesteps, map_context
        )
        latents = process.clean(noisy_map, predicted_map, timesteps)
        latents = latents.clamp(-_LARGEST_LATENT, _LARGEST_LATENT)
        decoded = models.vae.decode(latents / models.vae.config.scaling_factor).sample
        hint = functional.interpolate((decoded.float() / 2 + 0.5).clamp(0, 1), scale_factor=2)
        down, middle = models.controlnet(noisy, timesteps, context, hint, return_dict=False)
        predicted = models.unet(
            noisy,
            timesteps,
            context,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
    return (
        process.loss(predicted_map, map_noise, timesteps),
        process.loss(predicted, noise, timesteps, areas),
    )


def train_joint(
    models: JointModels,
    tokens: CaptionTokens,
    process: NoisingProcess,
    data: JointData,
    budget: StageBudget,
    folder: Path,
    options: LoopOptions,
) -> None:
    """The sum of both errors; only the adapter and the ControlNet's hint block learn."""
    learning = models.prepare()

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        index = rng.integers(len(data.pictures), size=budget.batch)
        of_map, of_picture = joint_losses(models, tokens, process, data, index, rng, options.device)
        logged = {"map": float(of_map.detach()), "picture": float(of_picture.detach())}
        return of_map + of_picture, logged

    train_stage("joint", learning, loss, budget, folder, options)
