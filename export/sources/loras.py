"""LoRA files, merged into the base's weights: W + scale · alpha / rank · up · down."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusers import UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_peft, convert_unet_state_dict_to_peft
from torch import Tensor, nn
from transformers import CLIPTextModel

from ..errors import ExportError
from .assemble import listed
from .places import Component, Source, locate
from .tensors import read_tensors, safetensors_metadata

_WEIGHTS = ("pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin")
_REPOSITORY = (Component("", _WEIGHTS),)
_UNET, _TEXT_ENCODER = "unet.", "text_encoder."
#: How each kind of file names the two matrices and the numerator of their scale.
_ROLES = {
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "alpha": "alpha",
    "lora_A.weight": "down",
    "lora_B.weight": "up",
}


@dataclass(frozen=True)
class Lora:
    """A LoRA file and the weight it is merged with; 1 is the strength it was trained for."""

    source: Source
    scale: float = 1.0


@dataclass
class _Update:
    """What a file says about one layer: tensors by role, and the file's key of each."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)


def merge_lora(unet: UNet2DConditionModel, text_encoder: CLIPTextModel, lora: Lora) -> None:
    """Add a LoRA to the weights of both models.

    kohya's names (``lora_unet_…``, ``lora_te_…``), diffusers' and peft's are known, for linear
    layers and convolutions. Unlike diffusers' own loading, which goes on with what it recognises,
    every tensor of the file must find its layer.

    Raises:
        ExportError: the file is unreadable or not a LoRA for these models; tensors that match
            nothing are listed.
    """
    path = _file(lora.source)
    layers = {**_layers(unet, _UNET), **_layers(text_encoder, _TEXT_ENCODER)}
    alphas = _Alphas(path)
    updates = _updates(read_tensors(path), layers, str(path))
    for name, update in updates.items():
        _check_fit(update, layers[name].weight, name, str(path))
    for name, update in updates.items():
        down, up = update.tensors["down"].float(), update.tensors["up"].float()
        weight, rank = layers[name].weight, len(down)
        alpha = update.tensors.get("alpha")
        factor = alphas.factor(name, rank) if alpha is None else float(alpha) / rank
        # A new tensor: the old one may be the mapped file.
        delta = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
        weight.data = weight.data + lora.scale * factor * delta


def _file(source: Source) -> Path:
    path = locate(source, "the LoRA", _REPOSITORY)
    if path.is_file():
        return path
    found = next((path / name for name in _WEIGHTS if (path / name).is_file()), None)
    if found is None:
        raise ExportError(f"the LoRA: {path} has no {_WEIGHTS[0]}; give the file itself")
    return found


def _layers(model: nn.Module, prefix: str) -> dict[str, nn.Linear | nn.Conv2d]:
    return {
        prefix + name.removeprefix("text_model."): module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }


def _updates(tensors: dict[str, Tensor], layers: Iterable[str], origin: str) -> dict[str, _Update]:
    known = set(layers)
    names = {**_kohya_names(tensors, known), **_diffusers_names(tensors)}
    updates: dict[str, _Update] = {}
    unmatched: list[str] = []
    for key, value in tensors.items():
        layer, role = names.get(key, ("", ""))
        if layer not in known or role not in _ROLES:
            unmatched.append(key)
            continue
        update = updates.setdefault(layer, _Update())
        update.tensors[_ROLES[role]] = value
        update.keys.append(key)
    for update in updates.values():
        if not {"down", "up"} <= update.tensors.keys():
            unmatched += update.keys
    if unmatched or not updates:
        raise ExportError(
            f"{origin}: {len(unmatched)} of {len(tensors)} tensors match no layer of the base: "
            f"{listed(unmatched) or 'the file is empty'}. Expected a LoRA for Stable Diffusion 1.x "
            "(plain low-rank pairs; not LoHa, LoKr or DoRA)"
        )
    return updates


def _check_fit(update: _Update, weight: Tensor, name: str, origin: str) -> None:
    down, up, alpha = (update.tensors.get(role) for role in ("down", "up", "alpha"))
    assert down is not None and up is not None
    rank = len(down) if down.ndim else 0
    # Tools disagree on whether a 1x1 convolution, or a linear layer, has the two trailing ones.
    fits = (
        rank > 0
        and down.shape[1:2] == weight.shape[1:2]
        and down.numel() == rank * weight[0].numel()
        and up.shape[:2] == (len(weight), rank)
        and up.numel() == len(weight) * rank
        and (alpha is None or alpha.numel() == 1)
    )
    if not fits:
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in (down, up))
        raise ExportError(
            f"{origin}: {listed(update.keys)} of shapes {shapes} don't fit {name}, whose weight is "
            f"{tuple(weight.shape)}; the LoRA is for another model"
        )


def _kohya_names(keys: Iterable[str], layers: set[str]) -> dict[str, tuple[str, str]]:
    """Layer and role by key. kohya joins the parts of a layer's name with underscores."""
    joined = {}
    for layer in layers:
        model, _, name = layer.partition(".")
        prefix = "lora_unet_" if model == "unet" else "lora_te_text_model_"
        joined[prefix + name.replace(".", "_")] = layer
    split = ((key, *key.partition(".")[::2]) for key in keys)
    return {key: (joined[name], role) for key, name, role in split if name in joined}


def _diffusers_names(keys: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Layer and role by key, for the names that diffusers has used over the years, and peft's."""
    own = [key for key in keys if not key.startswith("lora_")]
    # The oldest files hold a UNet's layers only, and say nothing of the model.
    prefixed = any(key.startswith((_UNET, _TEXT_ENCODER)) for key in own)
    unet = {key.removeprefix(_UNET): key for key in own if key.startswith(_UNET) or not prefixed}
    text = {
        key.removeprefix(_TEXT_ENCODER).removeprefix("text_model."): key
        for key in own
        if key.startswith(_TEXT_ENCODER)
    }
    if any(".lora_A." not in name and ".lora_B." not in name for name in text):
        try:
            text = convert_state_dict_to_peft(text)
        except ValueError:  # Names that diffusers doesn't know either; they will match nothing.
            text = {}
    names: dict[str, tuple[str, str]] = {}
    converted = ((_UNET, convert_unet_state_dict_to_peft(unet)), (_TEXT_ENCODER, text))
    for prefix, group in converted:
        for name, key in group.items():
            layer, _, role = name.rpartition(".lora_")
            names[key] = (prefix + layer, f"lora_{role}")
    return names


class _Alphas:
    """The scales that newer diffusers files keep in their header instead of in tensors."""

    def __init__(self, path: Path) -> None:
        self._path = path
        text = safetensors_metadata(path).get("lora_adapter_metadata", "{}")
        try:
            self._entries: dict[str, Any] = dict(json.loads(text))
        except (TypeError, ValueError) as error:
            raise ExportError(f"{path}: unreadable lora_adapter_metadata: {error}") from error

    def factor(self, layer: str, rank: int) -> float:
        """alpha / rank of a layer such as ``unet.conv_in``; 1 where the file says nothing."""
        model, _, name = layer.partition(".")
        try:
            alpha = float(self._entries.get(f"{model}.lora_alpha", rank))
            for pattern, value in (self._entries.get(f"{model}.alpha_pattern") or {}).items():
                if re.fullmatch(rf"(?:.*\.)?{pattern}", name):
                    alpha = float(value)
                    break
        except (TypeError, ValueError, AttributeError, re.error) as error:
            raise ExportError(f"{self._path}: malformed lora_adapter_metadata: {error}") from error
        root = self._entries.get(f"{model}.use_rslora", False)
        return alpha / (rank**0.5 if root else rank)
