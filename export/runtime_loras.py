"""LoRAs that travel in a bundle, for requests to weigh; see `lora_branches.py`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextModel

from .errors import ExportError
from .factors import IMAGE
from .lora_branches import DOWN, UP, LoraBranches
from .signature import Graph, Precision
from .sources import Source
from .sources.lora_names import TEXT_ENCODER, UNET
from .sources.loras import lora_layers
from .sources.low_rank import Pair, read_low_rank

#: Where the files lie in a bundle.
FOLDER = "loras"
_NAME = "[A-Za-z0-9][A-Za-z0-9_.-]*"
#: What a file calls the matrices of, by the beginnings of layers' names.
_ROLES = {UNET: "backbone", TEXT_ENCODER: "text_encoder"}
_DTYPES = {"fp32": torch.float32, "fp16": torch.float16}


@dataclass(frozen=True)
class RuntimeLora:
    """A LoRA to put into a bundle.

    name: what requests call it. factors: those that it changes, of the ones over the shared
    backbone.
    """

    name: str
    source: Source
    factors: tuple[str, ...] = (IMAGE,)


@dataclass(frozen=True)
class _Loaded:
    """A loaded one: its pairs by role and layer, and the largest rank of any."""

    given: RuntimeLora
    pairs: Mapping[str, Mapping[str, Pair]]

    @property
    def rank(self) -> int:
        return max(pair.rank for pairs in self.pairs.values() for pair in pairs.values())


class RuntimeLoras:
    """The LoRAs of a bundle, and the branches for them in its models."""

    def __init__(self, loaded: Sequence[_Loaded], layers: Mapping[str, nn.Module]) -> None:
        self._loaded = loaded
        self._branches: dict[str, LoraBranches] = {}
        for role in _ROLES.values():
            touched = {name for lora in loaded for name in lora.pairs[role]}
            if touched:
                ordered = {name: layer for name, layer in layers.items() if name in touched}
                self._branches[role] = LoraBranches(ordered)

    def backbone(self, graph: Graph) -> Graph:
        """The shared backbone's graph, or a shallow one, with what it takes of LoRAs."""
        return self._graph(graph, _ROLES[UNET])

    def text_encoder(self, graph: Graph) -> Graph:
        return self._graph(graph, _ROLES[TEXT_ENCODER])

    def save(self, root: Path, precision: Precision) -> None:
        """Write every LoRA into the bundle `root`, in the type that its graphs take.

        Raises:
            ExportError: a number isn't finite, or overflows in that type.
        """
        for lora in self._loaded:
            tensors: dict[str, Tensor] = {}
            for role, matrices in self._packed(lora).items():
                for matrix, value in zip((DOWN, UP), matrices, strict=True):
                    tensors[f"{role}.{matrix}"] = value.to(_DTYPES[precision]).contiguous()
            if not all(tensor.isfinite().all() for tensor in tensors.values()):
                raise ExportError(
                    f"the LoRA {lora.given.source} has numbers that {precision} can't hold; "
                    "check the file, or export with --precision fp32"
                )
            path = root / _file(lora.given.name)
            path.parent.mkdir(exist_ok=True)
            save_file(tensors, path)
            # safetensors makes its files private to the user, whatever the umask says.
            path.chmod(path.parent.stat().st_mode & 0o666)

    def as_json(self) -> tuple[dict[str, Any], ...]:
        """What the manifest says of them."""
        return tuple(
            {
                "name": lora.given.name,
                "file": _file(lora.given.name),
                "rank": lora.rank,
                "factors": list(lora.given.factors),
            }
            for lora in self._loaded
        )

    def _graph(self, graph: Graph, role: str) -> Graph:
        if role not in self._branches:
            return graph
        packed = (self._packed(lora) for lora in self._loaded)
        return self._branches[role].graph(graph, [found[role] for found in packed if role in found])

    def _packed(self, lora: _Loaded) -> dict[str, tuple[Tensor, Tensor]]:
        """By role, of those that it changes."""
        return {
            role: self._branches[role].packed(pairs, lora.rank)
            for role, pairs in lora.pairs.items()
            if pairs
        }


def load_runtime_loras(
    given: Sequence[RuntimeLora],
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    shared: Collection[str],
) -> RuntimeLoras:
    """Read LoRAs for a bundle's models.

    shared: the factors over the shared backbone.

    Raises:
        ExportError: a name isn't allowed or given twice, a factor isn't one of these, a file can't
            be read, or has what isn't of low rank.
    """
    _check(given, shared)
    layers = lora_layers(unet, text_encoder)
    loaded = []
    for lora in given:
        pairs = read_low_rank(layers, lora.source)
        loaded.append(
            _Loaded(
                lora,
                {
                    role: {name: pair for name, pair in pairs.items() if name.startswith(prefix)}
                    for prefix, role in _ROLES.items()
                },
            )
        )
    return RuntimeLoras(loaded, layers)


def _check(given: Iterable[RuntimeLora], shared: Collection[str]) -> None:
    names: set[str] = set()
    for lora in given:
        if re.fullmatch(_NAME, lora.name) is None:
            raise ExportError(
                f"the LoRA {lora.source} is called {lora.name!r}; expected letters, digits, _, - "
                "and ., the first of them a letter or digit"
            )
        if lora.name in names:
            raise ExportError(
                f"two LoRAs are called {lora.name}; requests tell them by their names"
            )
        names.add(lora.name)
        odd = [factor for factor in lora.factors if factor not in shared]
        if odd or not lora.factors:
            raise ExportError(
                f"the LoRA {lora.name} is to change {', '.join(odd) or 'nothing'}; expected "
                f"factors over the shared backbone: {', '.join(shared) or 'this bundle has none'}"
            )


def _file(name: str) -> str:
    return f"{FOLDER}/{name}.safetensors"
