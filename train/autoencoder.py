"""Stage 1: one autoencoder for images and maps, and the latents of a whole data set."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .dataset import SceneSet, made_once
from .loop import LoopOptions, mixed_precision, train_stage
from .presets import Preset
from .render import colorize

if TYPE_CHECKING:
    from diffusers import AutoencoderKL  # seconds, which who only measures needn't wait


_CHUNK = 500


def to_tensor(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """(n, S, S, 3) uint8 pictures as (n, 3, S, S) float32 in [-1, 1]."""
    array = torch.from_numpy(np.array(images)).to(device)
    return array.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def random_colorize(labels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Each label map as a poster: one random colour per class and picture."""
    tables = rng.integers(0, 256, size=(len(labels), 256, 3), dtype=np.uint8)
    rows = np.arange(len(labels))[:, None, None]
    return np.asarray(tables[rows, labels], np.uint8)


def train_autoencoder(
    vae: AutoencoderKL,
    small: SceneSet,
    large: SceneSet,
    preset: Preset,
    folder: Path,
    options: LoopOptions,
) -> None:
    """Reconstruct pictures, crops of large pictures, maps and posters (L1, squared error, KL).

    Afterwards the latent channels are brought to zero mean and unit variance, inside the
    1×1 convolutions around the latent, so `scaling_factor` is 1 and no channel drowns another.
    A budget of no steps leaves the autoencoder as it is.
    """
    if preset.autoencoder.steps == 0:
        vae.eval()
        return
    size = preset.map_size
    vae.to(memory_format=torch.channels_last)

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        third = preset.autoencoder.batch // 3
        rest = preset.autoencoder.batch - 2 * third
        pictures = small.images[np.sort(rng.choice(len(small), third))]
        maps = small.labels[np.sort(rng.choice(len(small), rest))]
        half = len(maps) * 3 // 4
        crops = np.stack(
            [_crop(large.images[i], size, rng) for i in rng.integers(len(large), size=third)]
        )
        batch = np.concatenate(
            [pictures, crops, colorize(maps[:half]), random_colorize(maps[half:], rng)]
        )
        target = to_tensor(batch, options.device).to(memory_format=torch.channels_last)
        with mixed_precision(options.device):
            posterior = vae.encode(target).latent_dist
            decoded = vae.decode(posterior.sample()).sample.float()
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        kl = 0.5 * (mean.pow(2) + logvar.exp() - 1 - logvar).mean()
        difference = decoded - target
        reconstruction = difference.abs().mean() + 0.5 * difference.pow(2).mean()
        return reconstruction + 3e-4 * kl, {"l1": float(difference.detach().abs().mean())}

    train_stage(
        "autoencoder", nn.ModuleDict({"vae": vae}), loss, preset.autoencoder, folder, options
    )
    _normalise_latents(vae, small, options.device)


def _crop(image: NDArray[np.uint8], size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    top, left = rng.integers(image.shape[0] - size + 1, size=2)
    return image[top : top + size, left : left + size]


@torch.no_grad()
def _normalise_latents(vae: AutoencoderKL, scenes: SceneSet, device: torch.device) -> None:
    count = min(512, len(scenes))
    pictures = np.concatenate([scenes.images[:count], colorize(scenes.labels[:count])])
    latents = encode(vae, pictures, device).float()
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    assert vae.quant_conv is not None and vae.post_quant_conv is not None
    # moments = (mean, logvar): shift and scale the first half, shift the log variance by -2 log std
    encoder, decoder = vae.quant_conv, vae.post_quant_conv
    channels = len(mean)
    encoder.weight[:channels] /= std[:, None, None, None]
    encoder.bias[:channels] = (encoder.bias[:channels] - mean) / std
    encoder.bias[channels:] -= 2 * std.log()
    decoder.bias += (decoder.weight[:, :, 0, 0] * mean).sum(1)
    decoder.weight *= std[None, :, None, None]


@torch.no_grad()
def encode(
    vae: AutoencoderKL, images: NDArray[np.uint8], device: torch.device, batch: int = 64
) -> Tensor:
    """Scaled posterior means of (n, S, S, 3) pictures: (n, 4, h, w) float16 on the CPU."""
    latents = []
    vae = vae.to(memory_format=torch.channels_last)
    for start in range(0, len(images), batch):
        pixels = to_tensor(images[start : start + batch], device)
        with mixed_precision(device):
            posterior = vae.encode(pixels.to(memory_format=torch.channels_last)).latent_dist
        latents.append((posterior.mean.float() * vae.config.scaling_factor).half().cpu())
    return torch.cat(latents)


def encode_once(
    folder: Path,
    vae: Callable[[], AutoencoderKL],
    count: int,
    pictures: Callable[[slice], NDArray[np.uint8]],
    device: torch.device,
) -> Tensor:
    """Latents of `count` pictures, as `encode` gives them, made the first time.

    vae: gives the autoencoder, which is asked for once at most. A file of `folder` holds the
    latents of a few hundred pictures, so that an interrupted run goes on.
    """
    vae = cache(vae)

    def make(part: slice) -> NDArray[np.float16]:
        latents: NDArray[np.float16] = encode(vae(), pictures(part), device).numpy()
        return latents

    parts = [slice(i, min(i + _CHUNK, count)) for i in range(0, count, _CHUNK)]
    made = [
        made_once(folder / f"{folder.name}-{part.start}.npy", partial(make, part)) for part in parts
    ]
    return torch.from_numpy(np.concatenate(made))


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: Tensor, batch: int = 64) -> NDArray[np.uint8]:
    """Pictures (n, S, S, 3) uint8 of (n, 4, h, w) latents."""
    pictures = []
    vae = vae.to(memory_format=torch.channels_last)
    for chunk in torch.split(latents, batch):
        scaled = (chunk.float() / vae.config.scaling_factor).to(memory_format=torch.channels_last)
        with mixed_precision(latents.device):
            image = vae.decode(scaled).sample
        pixels = ((image.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        pictures.append(pixels.permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(pictures)
