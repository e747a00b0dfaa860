"""Names, types and shapes of a graph's inputs and outputs, and random values for its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from .symbols import resolve

#: What a graph computes in: float32, or float16 with islands of float32 (see `precision.py`).
Precision = Literal["fp32", "fp16"]

#: Draws a value of the given shape, for tracing and checking.
Draw = Callable[[tuple[int, ...], Generator], Tensor]


def normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.randn(shape, generator=generator)


def uniform(low: float, high: float) -> Draw:
    """Numbers in [low, high)."""
    return lambda shape, generator: low + (high - low) * torch.rand(shape, generator=generator)


def integers(high: int, dtype: torch.dtype) -> Draw:
    """Whole numbers in [0, high), of the given type."""
    return lambda shape, generator: torch.randint(high, shape, generator=generator).to(dtype)


def cycle(*values: float) -> Draw:
    """The values in turn along a (B,) tensor, so that every one of them meets a graph."""
    return lambda shape, _: torch.tensor(values).repeat(shape[0])[: shape[0]]


def one_token(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """A (B, T) mask with a single true token per row.

    The argmax over it can't depend on rounding; a near tie of two tokens can, in any two runtimes.
    """
    token = torch.randint(shape[1], (shape[0], 1), generator=generator)
    return torch.arange(shape[1]) == token


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. A dimension is a number or a symbol; see `symbols.resolve`.

    dtype: "float32", "float16", "int64" or "bool".
    between_graphs: one graph writes it and another reads it, so that it has the graphs' precision;
    what the host computes or reads is float32 whatever that is.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str = "float32"
    draw: Draw = normal
    between_graphs: bool = False


@dataclass(frozen=True)
class Graph:
    """A module to export: its forward takes the inputs in order and returns the outputs in order.

    The module computes in float32 whatever the precision of the graph that is made of it.
    downscale: the picture's size divided by the latent's.
    multiple: what a latent's height and width must be divisible by.
    attention_stride: of one that makes attention maps, how much smaller than a latent they are.
    calibration: inputs of a batch of one that aren't random, while prompts are sampled to look for
    what overflows.
    """

    name: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    downscale: int = 1
    multiple: int = 1
    precision: Precision = "fp32"
    attention_stride: int | None = None
    calibration: Mapping[str, Tensor] = field(default_factory=dict, compare=False)

    def in_precision(self, precision: Precision) -> Graph:
        """The same graph, computed in `precision`; see `TensorSpec.between_graphs`."""
        dtype = {"fp32": "float32", "fp16": "float16"}[precision]

        def typed(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
            return tuple(
                replace(spec, dtype=dtype) if spec.between_graphs else spec for spec in specs
            )

        return replace(
            self, inputs=typed(self.inputs), outputs=typed(self.outputs), precision=precision
        )

    def random_inputs(self, batch: int, height: int, width: int, seed: int) -> dict[str, Tensor]:
        """The module's inputs for a latent of (batch, ·, height, width).

        Those that are float16 in the graph hold numbers that float16 has.
        """
        generator = Generator().manual_seed(seed)

        def draw(spec: TensorSpec) -> Tensor:
            sizes = {"batch": batch, "height": height, "width": width, "downscale": self.downscale}
            sizes["lora_rank"] = 2 + seed  # so that it differs from what was traced
            value = spec.draw(resolve(spec.shape, **sizes), generator)
            return value.half().float() if spec.dtype == "float16" else value

        return {spec.name: draw(spec) for spec in self.inputs}


def latent_size(stride: int = 1) -> tuple[str, str]:
    """Symbols of a latent's height and width at 1/stride of its resolution."""
    return ("height", "width") if stride == 1 else (f"height_div_{stride}", f"width_div_{stride}")


IMAGE_SIZE = ("image_height", "image_width")
