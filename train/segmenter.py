"""The measuring instrument: a small segmenter of painted pictures. It never steers what it measures;
as a graph of the bundle it reads maps from pictures that are edited."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from .autoencoder import to_tensor
from .classes import CLASSES
from .dataset import SceneSet
from .loop import LoopOptions, mixed_precision, train_stage
from .presets import Preset


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.GroupNorm(8, outputs),
        nn.SiLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.GroupNorm(8, outputs),
        nn.SiLU(),
    )


class Segmenter(nn.Module):
    """A small U-shaped network: (B, 3, S, S) pictures in [-1, 1] to (B, outputs, S/2, S/2)."""

    def __init__(self, width: int = 32, outputs: int = len(CLASSES)) -> None:
        super().__init__()
        self.first = _block(12, width)
        self.second = _block(width, 2 * width)
        self.third = _block(2 * width, 4 * width)
        self.fourth = _block(4 * width, 4 * width)
        self.up_third = _block(8 * width, 2 * width)
        self.up_second = _block(4 * width, width)
        self.head = nn.Conv2d(2 * width, outputs, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        first = self.first(functional.pixel_unshuffle(pictures, 2))
        second = self.second(functional.avg_pool2d(first, 2))
        third = self.third(functional.avg_pool2d(second, 2))
        deep = self.fourth(functional.avg_pool2d(third, 2))
        up = self.up_third(torch.cat([third, functional.interpolate(deep, scale_factor=2)], 1))
        up = self.up_second(torch.cat([second, functional.interpolate(up, scale_factor=2)], 1))
        logits: Tensor = self.head(
            torch.cat([first, functional.interpolate(up, scale_factor=2)], 1)
        )
        return logits


def train_segmenter(
    segmenter: Segmenter, scenes: SceneSet, preset: Preset, folder: Path, options: LoopOptions
) -> None:
    """Cross-entropy against the rendered labels, on pictures made a little worse than rendered."""

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        index = np.sort(rng.choice(len(scenes), preset.segmenter.batch))
        pictures = to_tensor(scenes.images[index], options.device)
        target = torch.from_numpy(scenes.labels[index].astype(np.int64)).to(options.device)
        noise = rng.standard_normal(pictures.shape, dtype=np.float32) * rng.uniform(0, 0.12)
        pictures = pictures * float(rng.uniform(0.85, 1.1)) + torch.from_numpy(noise).to(
            options.device
        )
        if rng.random() < 0.5:  # the autoencoder blurs
            pictures = functional.avg_pool2d(pictures, 3, stride=1, padding=1)
        with mixed_precision(options.device):
            logits = segmenter(pictures)
        value = functional.cross_entropy(logits.float(), target)
        accuracy = (logits.detach().argmax(1) == target).float().mean()
        return value, {"accuracy": float(accuracy)}

    modules = nn.ModuleDict({"segmenter": segmenter})
    train_stage("segmenter", modules, loss, preset.segmenter, folder, options)


def load_segmenter(path: Path) -> Segmenter:
    """A trained segmenter, in float32 and ready to measure."""
    segmenter = Segmenter()
    segmenter.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    return segmenter.eval()


@torch.no_grad()
def segment(
    segmenter: Segmenter, pictures: NDArray[np.uint8], device: torch.device, batch: int = 64
) -> NDArray[np.uint8]:
    """Labels (n, S/2, S/2) uint8 of (n, S, S, 3) pictures."""
    labels = []
    for start in range(0, len(pictures), batch):
        logits = segmenter(to_tensor(pictures[start : start + batch], device))
        labels.append(logits.argmax(1).to(torch.uint8).cpu().numpy())
    return np.concatenate(labels)
