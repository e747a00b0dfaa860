"""The autoencoder's decoder learns to draw the other kinds of maps; its latents stay as they are.

The autoencoder was trained on pictures, label maps and posters. Of greys it keeps too little
contrast, and of thin colored lines only a blur. What the encoder does isn't touched, so that
everything that was trained on its latents goes on to fit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .autoencoder import random_colorize, to_tensor
from .loop import LoopOptions, mixed_precision, train_stage
from .presets import Preset
from .render import colorize, render
from .truth import MAP_KINDS, map_picture
from .world import Scene, sample_scene

#: The first of a million seeds of the scenes that the decoder sees.
DECODER_SEED = 3_000_000
#: What a batch is made of, on average.
_SHARES = {
    **{"picture": 0.06, "crop": 0.13, "map": 0.13, "poster": 0.06},
    **{"depth": 0.12, "normal": 0.08, "sketch": 0.12, "pose": 0.30},
}
#: How much more a pixel counts on or beside a skeleton, which has one pixel in fifty.
_FIGURE_WEIGHT = 8.0


def train_decoder(vae: AutoencoderKL, preset: Preset, folder: Path, options: LoopOptions) -> None:
    """Reconstruct pictures of every kind (L1 and squared error), the encoder frozen."""
    modules = nn.ModuleDict({"decoder": vae.decoder, "post_quant": vae.post_quant_conv})
    vae.requires_grad_(False)
    modules.requires_grad_(True)
    vae.to(memory_format=torch.channels_last)
    kinds, shares = list(_SHARES), np.array(list(_SHARES.values()))

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        chosen = [str(kind) for kind in rng.choice(kinds, preset.decoder.batch, p=shares)]
        batch = np.stack([_picture(kind, preset, rng) for kind in chosen])
        target = to_tensor(batch, options.device).to(memory_format=torch.channels_last)
        with mixed_precision(options.device):
            with torch.no_grad():
                latents = vae.encode(target).latent_dist.sample()
            decoded = vae.decode(latents).sample.float()
        difference = decoded - target
        poses = torch.tensor([kind == "pose" for kind in chosen], device=options.device)
        drawn = (target > -1).any(1, keepdim=True) & poses[:, None, None, None]
        weights = 1 + _FIGURE_WEIGHT * functional.max_pool2d(drawn.float(), 3, 1, 1)
        value = (weights * (difference.abs() + 0.5 * difference.pow(2))).mean()
        errors = difference.detach().abs().mean((1, 2, 3))
        return value, {
            kind: float(
                np.mean([float(e) for e, k in zip(errors, chosen, strict=True) if k == kind])
            )
            for kind in set(chosen)
        }

    train_stage("decoder", modules, loss, preset.decoder, folder, options)


def _picture(kind: str, preset: Preset, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A picture of a kind, as wide as a map."""
    size = preset.map_size
    scene = _scene(kind, rng)
    for map_kind in MAP_KINDS:
        if kind == map_kind:
            return map_picture(map_kind, scene, size)
    if kind == "crop":
        large = render(scene, preset.image_size, geometry=False).image
        top, left = rng.integers(preset.image_size - size + 1, size=2)
        return large[top : top + size, left : left + size]
    view = render(scene, size, geometry=False)
    if kind == "picture":
        return view.image
    return colorize(view.labels) if kind == "map" else random_colorize(view.labels[None], rng)[0]


def _scene(kind: str, rng: np.random.Generator) -> Scene:
    """A scene; of poses' nineteen in twenty have a person, four times as many as of the others."""
    wanted = kind == "pose" and rng.random() < 0.95
    while True:
        scene = sample_scene(DECODER_SEED + int(rng.integers(1_000_000)))
        if not wanted or "person" in scene.things:
            return scene
