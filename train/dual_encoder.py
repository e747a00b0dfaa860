"""A small dual encoder of the procedural world: pictures and captions become vectors whose cosine
says how well they fit, as CLIP's do (Radford et al. 2021)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from .classes import CLASSES, THINGS
from .shapes import PAINTS

#: Side of the pictures, in pixels, and of the grid of cells that `Eye` sees them in.
SIDE, CELLS = 128, 16
#: Numbers of an embedding; the longest text, in tokens.
EMBEDDING, LONGEST = 256, 77
#: CLIP's own, so that whatever prepares pictures for CLIP prepares them for this.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
#: Tokens that the text tower's convolution sees together: "a cat to the left of a red dog".
_REACH = 9


class Sight(NamedTuple):
    """What `Eye` sees in each cell, as logits (B, n, 16, 16).

    labels: the world's classes. centres: for each thing, whether one has its centre here.
    paints: the paint of what has its centre here; the last one is none. boxes: (x, y, width,
    height) of it, x and y from the cell's middle in cells, the others fractions of the picture.
    """

    features: Tensor
    labels: Tensor
    centres: Tensor
    paints: Tensor
    boxes: Tensor


class Eye(nn.Module):
    """Convolutions over (B, 3, 128, 128) pictures, normalized by MEAN and STD, to a `Sight`."""

    def __init__(self, width: int = 48, depth: int = 96) -> None:
        super().__init__()
        self.first = _convolution(48, width)
        self.second = _convolution(width, width)
        self.third = _convolution(width, depth)
        self.fourth = _convolution(depth, depth)
        self.around = nn.Sequential(_convolution(depth, depth), _convolution(depth, depth))
        self.last = _convolution(depth, depth)
        self.sizes = (len(CLASSES), len(THINGS), len(PAINTS) + 1, 4)
        self.head = nn.Conv2d(depth, sum(self.sizes), 1)
        assert self.head.bias is not None
        with torch.no_grad():  # most cells are no thing's centre
            self.head.bias[len(CLASSES) : len(CLASSES) + len(THINGS)] = -5.0

    def forward(self, pictures: Tensor) -> Sight:
        near = self.first(functional.pixel_unshuffle(pictures, 4))
        near = functional.avg_pool2d(near + self.second(near), 2)
        cells = self.third(near)
        cells = cells + self.fourth(cells)
        far = self.around(functional.avg_pool2d(cells, 2))
        cells = cells + functional.interpolate(far, scale_factor=2.0, mode="nearest")
        cells = cells + self.last(cells)
        return Sight(cells, *self.head(cells).split(self.sizes, 1))


def summary(sight: Sight) -> Tensor:
    """(B, SUMMARY): how much there is of each class; for each thing how many, how sure, where, how
    large and in which paint; and the mean of all features."""
    areas = sight.labels.softmax(1).mean((2, 3))
    weights = sight.centres.sigmoid().flatten(2)  # (B, things, cells)
    count = weights.sum(2, keepdim=True)
    surest = weights.amax(2, keepdim=True)
    axis = (torch.arange(CELLS, device=weights.device) + 0.5) / CELLS
    here = torch.stack([axis.expand(CELLS, CELLS), axis[:, None].expand(CELLS, CELLS)])
    x_and_y = here + sight.boxes[:, :2] / CELLS
    told = torch.cat([x_and_y, sight.boxes[:, 2:], sight.paints.softmax(1)], 1)
    mean = weights @ told.flatten(2).transpose(1, 2) / (count + 0.05)
    things = torch.cat([count, surest, mean], 2).flatten(1)
    return torch.cat([areas, things, sight.features.mean((2, 3))], 1)


#: Numbers of a `summary`.
SUMMARY = len(CLASSES) + len(THINGS) * (2 + 4 + len(PAINTS) + 1) + 96


class ImageTower(nn.Module):
    """(B, 3, 128, 128) pictures, normalized by MEAN and STD, to (B, 256) of length 1."""

    def __init__(self, hidden: int = 384) -> None:
        super().__init__()
        self.eye = Eye()
        self.inward = nn.Linear(SUMMARY, hidden)
        self.outward = nn.Linear(hidden, EMBEDDING)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.of_summary(summary(self.eye(pictures)))

    def of_summary(self, seen: Tensor) -> Tensor:
        """The embedding (B, 256) of a `summary`."""
        embedded = self.outward(functional.gelu(self.inward(seen)))
        return functional.normalize(embedded, dim=1)


class TextTower(nn.Module):
    """(B, length) CLIP token ids, up to 77, to (B, 256) of length 1. What follows the first token
    that ends a text isn't read, so texts may be padded with anything."""

    def __init__(self, vocabulary: int, end: int, width: int = 96, layers: int = 2) -> None:
        super().__init__()
        self.end = end
        self.words = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(torch.randn(LONGEST, width) * 0.02)
        nn.init.normal_(self.words.weight, std=0.2)
        self.around = nn.Conv1d(width, width, _REACH, padding=_REACH // 2)
        self.layers = nn.ModuleList(_Layer(width, heads=4) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.outward = nn.Linear(width, EMBEDDING, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        is_end = (ids == self.end).to(torch.int64)
        before = is_end.cumsum(1) - is_end  # how many ends there are before each token
        read = (before == 0).to(self.places.dtype)
        states = (self.words(ids) + self.places[: ids.shape[1]]) * read[..., None]
        states = states + functional.gelu(self.around(states.transpose(1, 2))).transpose(1, 2)
        for layer in self.layers:
            states = layer(states, (1 - read[:, None, None]) * -1e4)
        pooled = (states * (is_end * read)[..., None]).sum(1)
        return functional.normalize(self.outward(self.norm(pooled)), dim=1)


class DualEncoder(nn.Module):
    """Both towers; a cosine times `scale` is a logit."""

    def __init__(self, vocabulary: int, end: int) -> None:
        super().__init__()
        self.image = ImageTower()
        self.text = TextTower(vocabulary, end)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp().clamp(max=100.0)


def load_dual_encoder(path: Path) -> DualEncoder:
    """Trained weights, in float32 and ready to measure."""
    weights = {key: value.float() for key, value in load_file(path).items()}
    end = int(weights.pop("text.end"))
    model = DualEncoder(len(weights["text.words.weight"]), end)
    model.load_state_dict(weights)
    return model.eval()


class _Layer(nn.Module):
    """Attention and two linear maps, each over normalized states and added to them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.asked = nn.Linear(width, 3 * width)
        self.answered = nn.Linear(width, width)
        self.between = nn.LayerNorm(width)
        self.inward = nn.Linear(width, 4 * width)
        self.outward = nn.Linear(4 * width, width)

    def forward(self, states: Tensor, unread: Tensor) -> Tensor:
        batch, length, width = states.shape
        asked = self.asked(self.before(states)).reshape(batch, length, 3, self.heads, -1)
        query, key, value = asked.permute(2, 0, 3, 1, 4).unbind(0)
        weights = query @ key.transpose(2, 3) / math.sqrt(width / self.heads) + unread
        answers = (weights.softmax(-1) @ value).transpose(1, 2).reshape(batch, length, width)
        states = states + self.answered(answers)
        hidden: Tensor = self.outward(functional.gelu(self.inward(self.between(states))))
        return states + hidden


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.SiLU()
    )
