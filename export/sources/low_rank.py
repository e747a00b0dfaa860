"""LoRA files as the low-rank pairs that a graph can take as inputs, in place of merging them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import ExportError
from .assemble import listed
from .lora_maths import change_of
from .lora_names import UNET
from .loras import LoraFile, own_scale, read_lora
from .places import Source

#: What a pair may have beside it; the others aren't of low rank, or change more than the weight.
_PAIR = {"down", "up", "alpha"}
#: Adapters of condition factors compute with it too, and a graph of theirs takes no LoRA.
_SHARED = f"{UNET}time_embedding."


@dataclass(frozen=True)
class Pair:
    """A layer's change at a LoRA's scale of 1: up @ down, of the layer's weight flattened after its
    first dimension. down: (rank, inputs); up: (outputs, rank); float32."""

    down: Tensor
    up: Tensor

    @property
    def rank(self) -> int:
        return len(self.down)


def read_low_rank(layers: Mapping[str, nn.Module], source: Source) -> dict[str, Pair]:
    """A LoRA's pairs by layer.

    layers: as `loras.lora_layers`.

    Raises:
        ExportError: as `loras.read_lora`; or the file has what isn't a low-rank pair of a linear
            layer or a convolution (LoHa, LoKr, DoRA, whole differences, biases, embeddings).
    """
    pairs: dict[str, Pair] = {}
    for file in read_lora(layers, source):
        _check_kind(file, layers)
        for name, update in file.updates.items():
            change = change_of(update.tensors)
            assert change is not None
            factor = own_scale(update.tensors, change, file.settings, name)
            down, up = (update.tensors[role].float().flatten(1) for role in ("down", "up"))
            pair = Pair(down, factor * up)
            before = pairs.get(name)
            pairs[name] = pair if before is None else _together(before, pair)
    return pairs


def _together(one: Pair, other: Pair) -> Pair:
    return Pair(torch.cat([one.down, other.down]), torch.cat([one.up, other.up], dim=1))


def _check_kind(file: LoraFile, layers: Mapping[str, nn.Module]) -> None:
    kinds = {
        name: sorted(set(update.tensors) - _PAIR) or ["no pair"]
        for name, update in file.updates.items()
        if not {"down", "up"} <= set(update.tensors) <= _PAIR
    }
    if kinds:
        roles = sorted({role for found in kinds.values() for role in found})
        raise ExportError(
            f"{file.path}: {len(kinds)} of {len(file.updates)} layers have more, or other, than a "
            f"low-rank pair ({', '.join(roles)}), which requests can't weigh: "
            f"{listed(list(kinds))}. Merge this LoRA into the base with --lora"
        )
    odd = [name for name in file.updates if not can_branch(name, layers[name])]
    if odd:
        raise ExportError(
            f"{file.path} changes {listed(odd)}, which requests can't weigh: expected linear "
            "layers and convolutions, and not the time embedding, which adapters of maps share. "
            "Merge this LoRA into the base with --lora"
        )


def can_branch(name: str, layer: nn.Module) -> bool:
    """Whether a low-rank branch can be put beside a layer."""
    if name.startswith(_SHARED):
        return False
    if isinstance(layer, nn.Linear):
        return True
    return (
        isinstance(layer, nn.Conv2d)
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )
