"""Stage 4: the image factor, a ControlNet trained from the frozen base."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel

from .autoencoder import decode, encode
from .classes import CLASSES
from .diffusion import CaptionTokens, NoisingProcess, pick_captions
from .loop import LoopOptions, freeze, mixed_precision, train_stage
from .presets import Preset
from .render import colorize

NULL_SHARE = 0.2
#: The share of the steps after which pictures are large.
LARGE_FROM = 0.6


@dataclass(frozen=True)
class Pictures:
    """What the ControlNet learns from: latents (n, 4, h, w), maps (n, s, s, 3) uint8, the labels
    (n, s, s) behind them, captions."""

    latents: Tensor
    maps: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    captions: list[list[str]]


def nearest_labels(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The nearest class (L∞) of every pixel of (n, S, S, 3) pictures."""
    palette = np.array([entry.color for entry in CLASSES], np.int16)
    labels = np.empty(pictures.shape[:3], np.uint8)
    for i, picture in enumerate(pictures.astype(np.int16)):
        labels[i] = np.abs(picture[:, :, None] - palette).max(-1).argmin(-1)
    return labels


def hint_maps(
    vae: AutoencoderKL, labels: NDArray[np.uint8], device: torch.device
) -> NDArray[np.uint8]:
    """Maps as inference hands them over: through the autoencoder, then snapped to the palette."""
    restored = decode(vae, encode(vae, colorize(labels), device).to(device))
    return colorize(nearest_labels(restored))


def hint_tensor(maps: NDArray[np.uint8], size: int, device: torch.device) -> Tensor:
    """(n, s, s, 3) maps as the ControlNet's input: (n, 3, size, size) in [0, 1], nearest resize."""
    factor = size // maps.shape[1]
    enlarged = maps.repeat(factor, axis=1).repeat(factor, axis=2)
    return torch.from_numpy(enlarged).to(device).permute(0, 3, 1, 2).float() / 255.0


def area_weights(labels: NDArray[np.uint8], size: int) -> Tensor:
    """How much each latent cell counts, (n, size, size), 1 on average in each scene.

    Each class counts by the square root of its area, so that what is small is painted too.
    labels: (n, s, s), s a multiple of size.
    """
    weights = np.empty(labels.shape, np.float32)
    for i, scene in enumerate(labels):
        _, index, pixels = np.unique(scene, return_inverse=True, return_counts=True)
        weights[i] = (pixels**-0.5)[index.reshape(scene.shape)]
    weights /= weights.mean((1, 2), keepdims=True)
    return functional.adaptive_avg_pool2d(torch.from_numpy(weights), size)


def train_controlnet(
    controlnet: ControlNetModel,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokens: CaptionTokens,
    process: NoisingProcess,
    small: Pictures | None,
    large: Pictures,
    preset: Preset,
    folder: Path,
    options: LoopOptions,
) -> None:
    """ε-prediction on image latents given maps, weighted by `area_weights`; the base is frozen.

    It learns to follow a map on small pictures, four to the price of a large one, and only then
    what the full size asks for. Without small pictures every step takes large ones.
    """
    freeze(unet, text_encoder)

    budget = preset.controlnet

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        if small is None or step >= LARGE_FROM * budget.steps:
            source, count = large, budget.large_batch
        else:
            source, count = small, budget.batch
        index = rng.integers(len(source.latents), size=count)
        clean = source.latents[index].to(options.device).float()
        noisy, noise, timesteps = process.draw(clean, rng)
        ids = tokens.with_null(pick_captions(source.captions, index, rng), rng, NULL_SHARE)
        size = clean.shape[-1] * preset.latent_scale
        hint = hint_tensor(source.maps[index], size, options.device)
        with mixed_precision(options.device):
            with torch.no_grad():
                context = text_encoder(ids).last_hidden_state
            down, middle = controlnet(noisy, timesteps, context, hint, return_dict=False)
            predicted = unet(
                noisy,
                timesteps,
                context,
                down_block_additional_residuals=down,
                mid_block_additional_residual=middle,
            ).sample
        areas = area_weights(source.labels[index], clean.shape[-1]).to(options.device)
        value = process.loss(predicted, noise, timesteps, areas)
        return value, {"large" if source is large else "small": float(value.detach())}

    modules = nn.ModuleDict({"controlnet": controlnet})
    train_stage("controlnet", modules, loss, budget, folder, options)
