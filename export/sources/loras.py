"""LoRA files and their relatives, merged into the base's weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from ..errors import ExportError
from .assemble import listed
from .lora_maths import (
    Change,
    change_of,
    changed_weight,
    is_complete,
    magnitudes_fit,
)
from .lora_names import FOREIGN, PEFT, TEXT_ENCODER, UNET, layer_and_role
from .lora_settings import PEFT_CONFIG, LoraSettings
from .places import Component, Source, locate
from .tensors import read_tensors

_WEIGHTS = (
    "pytorch_lora_weights.safetensors",
    "adapter_model.safetensors",
    "pytorch_lora_weights.bin",
    "adapter_model.bin",
)
#: peft's examples save what they train of each model in a folder of its own.
_FOLDERS = ("unet", "text_encoder")
_REPOSITORY = tuple(Component(folder, _WEIGHTS) for folder in ("", *_FOLDERS))
_CONFIGS = tuple(Component(folder, ()).path(PEFT_CONFIG) for folder in ("", *_FOLDERS))

#: A layer of either model that a file can change.
_Layer = nn.Module


@dataclass(frozen=True)
class Lora:
    """A LoRA file and the weight it is merged with; 1 is the strength it was trained for."""

    source: Source
    scale: float = 1.0


@dataclass
class Update:
    """What a file says about one layer: tensors by role, and the file's key of each."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class LoraFile:
    """One file of a LoRA, all of whose tensors fit: its updates by layer (``unet.…``,
    ``text_encoder.…``)."""

    path: Path
    settings: LoraSettings
    updates: Mapping[str, Update]


def read_lora(layers: Mapping[str, _Layer], source: Source) -> list[LoraFile]:
    """The files of a LoRA for these layers, as `lora_layers` returns them.

    Raises:
        ExportError: as `merge_lora`.
    """
    return [_read_file(path, layers) for path in _files(source)]


def lora_layers(unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> dict[str, _Layer]:
    """Every module of both models with a weight of its own, by its name in a `LoraFile`."""
    return {**_layers(unet, UNET), **_layers(text_encoder, TEXT_ENCODER)}


def merge_lora(unet: UNet2DConditionModel, text_encoder: CLIPTextModel, lora: Lora) -> None:
    """Add a LoRA to the weights of both models.

    kohya's and LyCORIS's names (``lora_unet_…``, ``lora_te_…``), diffusers', and peft's own
    (``base_model.model.…`` with adapter_config.json) are known; LoRA, LoCon, LoHa, LoKr and DoRA,
    whole differences, and the biases and modules that peft saves. Unlike diffusers' own loading,
    which goes on with what it recognises, every tensor of the file must find its layer.

    Raises:
        ExportError: the file is unreadable or not a LoRA for these models; tensors that match
            nothing are listed.
    """
    layers = lora_layers(unet, text_encoder)
    for path in _files(lora.source):
        file = _read_file(path, layers)
        for name, update in file.updates.items():
            _apply(update.tensors, layers[name], name, file.settings, lora.scale)


def _read_file(path: Path, layers: Mapping[str, _Layer]) -> LoraFile:
    tensors = read_tensors(path)
    settings = LoraSettings(path, any(key.startswith(PEFT) for key in tensors))
    updates = _updates(tensors, layers, str(path))
    for name, update in updates.items():
        _check_fit(update, layers[name], name, str(path))
    return LoraFile(path, settings, updates)


def own_scale(
    tensors: Mapping[str, Tensor], change: Change, settings: LoraSettings, name: str
) -> float:
    """What a layer's change is multiplied by at a LoRA's scale of 1."""
    if not change.scaled:
        return 1.0
    alpha = tensors.get("alpha")
    if alpha is None:
        return settings.factor(name, change.rank)
    # LyCORIS ignores alpha where nothing is of low rank.
    return 1.0 if change.rank is None else float(alpha) / change.rank


def _apply(
    tensors: Mapping[str, Tensor], layer: _Layer, name: str, settings: LoraSettings, scale: float
) -> None:
    """Give the layer new tensors: the old ones may be the mapped file."""
    weight, bias = layer.get_parameter("weight"), getattr(layer, "bias", None)
    change = change_of(tensors)
    factor = scale if change is None else scale * own_scale(tensors, change, settings, name)
    if change is not None:
        weight.data = changed_weight(weight.data, change, factor, tensors)
    if "weight" in tensors:
        weight.data = weight.data + scale * (tensors["weight"].float() - weight.data)
    if bias is None:
        return
    if "bias" in tensors:
        bias.data = bias.data + scale * (tensors["bias"].float() - bias.data)
    if "bias_difference" in tensors:
        bias.data = bias.data + scale * tensors["bias_difference"].float()
    if "up_bias" in tensors:
        bias.data = bias.data + factor * tensors["up_bias"].float()


def _files(source: Source) -> list[Path]:
    path = locate(source, "the LoRA", _REPOSITORY, _CONFIGS)
    if path.is_file():
        return [path]
    for folders in (("",), _FOLDERS):
        found = [
            next((p for w in _WEIGHTS if (p := path / folder / w).is_file()), None)
            for folder in folders
        ]
        if any(found):
            return [file for file in found if file is not None]
    raise ExportError(
        f"the LoRA: {path} has no {_WEIGHTS[0]} and no {_WEIGHTS[1]}; give the file itself"
    )


def _layers(model: nn.Module, prefix: str) -> dict[str, _Layer]:
    """Every module with a weight of its own."""
    return {
        prefix + name.removeprefix("text_model."): module
        for name, module in model.named_modules()
        if isinstance(getattr(module, "weight", None), nn.Parameter)
    }


def _updates(
    tensors: dict[str, Tensor], layers: Mapping[str, _Layer], origin: str
) -> dict[str, Update]:
    for part, method in FOREIGN.items():
        found = [key for key in tensors if part in key]
        if found:
            raise ExportError(
                f"{origin} is {method} ({listed(found[:1])}), which is not supported; LoRA, LoCon, "
                "LoHa, LoKr and DoRA are"
            )
    names = layer_and_role(tensors, set(layers))
    updates: dict[str, Update] = {}
    unmatched: list[str] = []
    for key, value in tensors.items():
        if key not in names:
            unmatched.append(key)
            continue
        layer, role = names[key]
        update = updates.setdefault(layer, Update())
        update.tensors[role] = value
        update.keys.append(key)
    for update in updates.values():
        if not is_complete(set(update.tensors)):
            unmatched += update.keys
    if unmatched or not updates:
        raise ExportError(
            f"{origin}: {len(unmatched)} of {len(tensors)} tensors match no layer of the base, or "
            f"lack others beside them: {listed(unmatched) or 'the file is empty'}. Expected a LoRA "
            "(or LoCon, LoHa, LoKr, DoRA) for Stable Diffusion 1.x"
        )
    return updates


def _check_fit(update: Update, layer: _Layer, name: str, origin: str) -> None:
    weight, bias = layer.get_parameter("weight"), getattr(layer, "bias", None)
    if not _fits(update.tensors, weight, bias):
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in update.tensors.values())
        raise ExportError(
            f"{origin}: {listed(update.keys)} of shapes {shapes} don't fit {name}, whose weight is "
            f"{tuple(weight.shape)}; the LoRA is for another model"
        )


def _fits(tensors: Mapping[str, Tensor], weight: Tensor, bias: Tensor | None) -> bool:
    """Whether the update has the weight's shape; only shapes are computed."""
    shapes = {role: value.to("meta") for role, value in tensors.items()}
    try:
        change = change_of(shapes)
    except (RuntimeError, IndexError):
        return False
    if change is not None:
        delta = change.delta
        if delta.shape[:1] != weight.shape[:1] or delta.numel() != weight.numel():
            return False
        if change.rank is not None and change.rank < 1:
            return False
    # Tools disagree on whether a 1x1 convolution, or a linear layer, has the two trailing ones.
    down = shapes.get("down")
    if down is not None and down.shape[1:2] != weight.shape[1:2]:
        return False
    rows = [shapes[role] for role in ("bias", "bias_difference", "up_bias") if role in shapes]
    if rows and (bias is None or any(row.shape != bias.shape for row in rows)):
        return False
    whole = shapes.get("weight")
    return (
        (whole is None or whole.shape == weight.shape)
        and ("alpha" not in shapes or shapes["alpha"].numel() == 1)
        and magnitudes_fit(weight, shapes)
    )
