"""ControlNets: a diffusers folder or repository, or an original checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from diffusers import ControlNetModel
from torch import Tensor

from ..errors import ExportError
from .assemble import empty, fill
from .checkpoints import CONTROLNET, UNET, load_controlnet_checkpoint
from .families import check_width, refuse
from .folders import load_folder
from .places import LONE_MODEL, Source, locate
from .sd1 import SD1, Architecture
from .tensors import read_tensors

_HINT = "input_hint_block.0.weight"
_DIFFUSERS_HINT = "controlnet_cond_embedding.conv_in.weight"


def load_controlnet(source: Source, architecture: Architecture = SD1) -> ControlNetModel:
    """Read a ControlNet: a diffusers folder, a Hugging Face id, or one file.

    A file may have the original names, bare or behind ``control_model.``, alone or inside a whole
    checkpoint, or diffusers' names. architecture: what a file's ControlNet looks like; a folder
    says so itself.

    Raises:
        ExportError: it is missing, unreadable, of another family or no ControlNet, or its tensors
            aren't those that its configuration asks for.
    """
    path = locate(source, "the ControlNet", LONE_MODEL)
    if path.is_dir():
        model = load_folder(ControlNetModel, path)
        _check_use(model, str(path))
        return model
    tensors, origin = read_tensors(path), str(path)
    _check_kind(tensors, origin)
    if _DIFFUSERS_HINT in tensors:
        model = empty(lambda: ControlNetModel(**architecture.controlnet), origin)
        return fill(model, tensors, origin)
    if any(key.startswith(UNET) for key in tensors):
        tensors = {key: value for key, value in tensors.items() if key.startswith(CONTROLNET)}
    return load_controlnet_checkpoint(tensors, architecture.controlnet, origin)


def _check_use(model: ControlNetModel, origin: str) -> None:
    """Refuse what a bundle's graphs don't do."""
    if model.config.global_pool_conditions:
        raise ExportError(
            f"{origin} averages its residuals over the picture (global_pool_conditions), as the "
            "shuffle ControlNet does; that is not supported"
        )
    if model.config.conditioning_channels != 3:
        raise ExportError(
            f"{origin} takes pictures of {model.config.conditioning_channels} channels; expected 3"
        )


def _check_kind(tensors: Mapping[str, Tensor], origin: str) -> None:
    if "lora_controlnet" in tensors:
        raise ExportError(f"{origin} is a Control-LoRA; expected a whole ControlNet")
    if "difference" in tensors:
        raise ExportError(
            f"{origin} holds a ControlNet's difference from its base; expected a whole ControlNet"
        )
    if not tensors.keys() & {_HINT, CONTROLNET + _HINT, _DIFFUSERS_HINT}:
        raise ExportError(
            f"{origin} isn't a ControlNet: it has none of {CONTROLNET}{_HINT}, {_HINT} and "
            f"{_DIFFUSERS_HINT}"
        )
    for key, value in tensors.items():
        name = key.removeprefix(CONTROLNET)
        if name.startswith(("label_emb.", "add_embedding.")):
            refuse(origin, "a ControlNet for Stable Diffusion XL")
        is_context = name.endswith("transformer_blocks.0.attn2.to_k.weight") and value.ndim > 1
        if is_context and not key.startswith(UNET):
            check_width(int(value.shape[1]), origin)
