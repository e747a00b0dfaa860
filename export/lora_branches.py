"""Low-rank branches beside a model's layers, whose numbers are inputs of its graphs.

A layer y = W x becomes y = W x + B (s ⊙ (A x)): A and B of all LoRAs in use lie side by side
along their ranks, and s has the weight of each rank in each row, so that rows of different LoRAs,
and of none, share a batch (LoRA, Hu et al. 2021, equation 3). Runtimes ignore LoRAs that they
know of themselves, or take weights that are given in place of their own for constants; plain inputs
work in all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import pad

from .signature import Graph, TensorSpec, uniform
from .sources.low_rank import Pair

DOWN, UP, SCALE = "lora_down", "lora_up", "lora_scale"
#: The symbol of the rank of all LoRAs in use together.
RANK = "lora_rank"


@dataclass(frozen=True)
class _Place:
    """The rows of a layer in both matrices; a convolution's inputs are its channels times the cells
    of its kernel."""

    down: slice
    up: slice


class LoraBranches:
    """Branches beside layers of one model, for all graphs that are made of it.

    The layers compute as before wherever a graph's module isn't of `graph`. `lora_down` is
    (all inputs, rank), `lora_up` (all outputs, rank), `lora_scale` (B, rank); layers lie one after
    another in the order in which they were given.
    """

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        self._places: dict[str, _Place] = {}
        self._bound: tuple[Tensor, Tensor, Tensor] | None = None
        down = up = 0
        for name, layer in layers.items():
            weight = layer.get_parameter("weight").flatten(1)
            place = _Place(slice(down, down + weight.shape[1]), slice(up, up + weight.shape[0]))
            self._places[name] = place
            down, up = place.down.stop, place.up.stop
            layer.register_forward_hook(self._beside(place))
        self.inputs, self.outputs = down, up

    def graph(self, graph: Graph, loras: Iterable[tuple[Tensor, Tensor]]) -> Graph:
        """The graph, which takes LoRAs as its last three inputs.

        loras: as `packed`; the calibration meets all of them, with weights whose sum is 1.
        """
        graph.module.register_forward_pre_hook(self._bind)
        graph.module.register_forward_hook(self._unbind, always_call=True)
        matrices = list(loras)
        count = len(matrices)
        return replace(
            graph,
            inputs=(
                *graph.inputs,
                TensorSpec(DOWN, (self.inputs, RANK), draw=_small, between_graphs=True),
                TensorSpec(UP, (self.outputs, RANK), draw=_small, between_graphs=True),
                TensorSpec(SCALE, ("batch", RANK), draw=uniform(-1.0, 1.0)),
            ),
            calibration={
                DOWN: torch.cat([down for down, _ in matrices], dim=1),
                UP: torch.cat([up for _, up in matrices], dim=1),
                SCALE: torch.cat([torch.ones(1, d.shape[1]) / count for d, _ in matrices], dim=1),
            },
        )

    def packed(self, pairs: Mapping[str, Pair], rank: int) -> tuple[Tensor, Tensor]:
        """A LoRA's `lora_down` and `lora_up`, float32; zeros where it has no pair, and beyond a
        pair's own rank."""
        down, up = torch.zeros(self.inputs, rank), torch.zeros(self.outputs, rank)
        for name, pair in pairs.items():
            place = self._places[name]
            down[place.down, : pair.rank] = pair.down.T
            up[place.up, : pair.rank] = pair.up
        return down, up

    def _bind(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        self._bound = cast("tuple[Tensor, Tensor, Tensor]", inputs[-3:])
        return inputs[:-3]

    def _unbind(self, *_: object) -> None:
        self._bound = None

    def _beside(self, place: _Place) -> Any:
        def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if self._bound is None:
                return output
            down, up, scale = self._bound
            down, up = down[place.down], up[place.up]
            if isinstance(layer, nn.Conv2d):
                return output + _convolved(layer, inputs[0], output, down, up, scale)
            return output + _linear(inputs[0], down, up, scale)

        return add


def _linear(x: Tensor, down: Tensor, up: Tensor, scale: Tensor) -> Tensor:
    """x: (B, in) or (B, T, in)."""
    weight = scale if x.ndim == 2 else scale[:, None]
    return ((x @ down) * weight) @ up.T


def _convolved(
    layer: nn.Conv2d, x: Tensor, output: Tensor, down: Tensor, up: Tensor, scale: Tensor
) -> Tensor:
    """What a convolution with kernels that are inputs adds to `output`; x: (B, in, h, w).

    Products of matrices alone, since some runtimes' convolutions take constant kernels only: each
    cell of the kernel makes its (rank, h, w) of x, and those are shifted and summed.
    """
    batch, channels, height, width = x.shape
    rows, columns = output.shape[2:]
    if layer.kernel_size == (1, 1) and layer.stride == (1, 1) and layer.padding == (0, 0):
        low = down.T @ x.flatten(2)
    else:
        cells = layer.kernel_size[0] * layer.kernel_size[1]
        kernels = down.reshape(channels, cells, -1).permute(1, 2, 0).reshape(-1, channels)
        made = (kernels @ x.flatten(2)).reshape(batch, cells, -1, height, width)
        over, beside = cast("tuple[int, int]", layer.padding)
        made = pad(made, (beside, beside, over, over))
        shifted = [
            _every(
                _every(made[:, cell], 2, cell // layer.kernel_size[1], layer.stride[0], rows),
                *(3, cell % layer.kernel_size[1], layer.stride[1], columns),
            )
            for cell in range(cells)
        ]
        low = sum(shifted[1:], shifted[0]).flatten(2)
    return (up @ (low * scale[:, :, None])).reshape(batch, -1, rows, columns)


def _every(x: Tensor, axis: int, first: int, step: int, count: int) -> Tensor:
    """`count` slices along an axis, from `first` on, `step` apart."""
    at = [slice(None)] * x.ndim
    at[axis] = slice(first, first + step * (count - 1) + 1, step)
    return x[tuple(at)]


def _small(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Numbers that change a layer visibly, and don't drown it."""
    return 0.05 * torch.randn(shape, generator=generator)
