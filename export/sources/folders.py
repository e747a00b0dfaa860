"""Reads a model from a folder that diffusers or transformers wrote."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from ..errors import ExportError
from .assemble import empty, fill
from .families import check_unet
from .places import DIFFUSERS_WEIGHTS, TRANSFORMERS_WEIGHTS, Component, find_weights
from .tensors import read_json, read_shards, read_tensors

_Model = TypeVar("_Model")

#: Names of attention weights that diffusers gave up, still common in published autoencoders.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_KEY = re.compile(r"(.+\.attentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)")


def load_folder(kind: type[_Model], folder: Path) -> _Model:
    """Read a diffusers model of the class `kind`: config.json and its weights.

    Raises:
        ExportError: a file is missing or unreadable, the model is of another class or family, or
            its tensors aren't those that its configuration asks for.
    """
    config = read_config(folder, kind.__name__)
    check_unet(config, str(folder))
    reader: Any = kind
    model = empty(lambda: reader.from_config(config), str(folder / "config.json"))
    tensors = load_weights(folder)
    if kind is AutoencoderKL:
        tensors = {_new_name(key): value for key, value in tensors.items()}
    filled: _Model = fill(model, tensors, str(folder))
    return filled


def load_text_encoder(folder: Path) -> CLIPTextModel:
    """Read CLIP's text model from a transformers folder.

    Raises:
        ExportError: as `load_folder`.
    """
    config = read_json(folder / "config.json")
    if config.get("model_type", "clip_text_model") != "clip_text_model":
        raise ExportError(
            f"{folder} is a {config['model_type']}; expected CLIP's text encoder (clip_text_model)"
        )
    tensors = load_weights(folder, TRANSFORMERS_WEIGHTS)
    return fill_text_encoder(config, tensors, str(folder))


def fill_text_encoder(
    config: dict[str, Any], tensors: dict[str, Tensor], origin: str
) -> CLIPTextModel:
    """CLIP's text model from its configuration and its tensors; the latter are emptied.

    Raises:
        ExportError: as `assemble.fill`.
    """
    model = empty(lambda: CLIPTextModel(CLIPTextConfig.from_dict(config)), origin)
    # transformers dropped this level of names in version 5.6, and checkpoints keep it. Position ids
    # are the numbers 0 to 76, saved by old versions.
    prefix = "text_model." if hasattr(model, "text_model") else ""
    named = {
        prefix + key.removeprefix("text_model."): value
        for key, value in tensors.items()
        if not key.endswith("embeddings.position_ids")
    }
    tensors.clear()
    filled: CLIPTextModel = fill(model, named, origin)
    return filled


def read_config(folder: Path, kind: str) -> dict[str, Any]:
    """A diffusers model's config.json, which must be of the class `kind`.

    Raises:
        ExportError: it is missing, malformed or of another class.
    """
    if not folder.is_dir():
        raise ExportError(f"there is no folder {folder}; expected one with a {kind}")
    config = read_json(folder / "config.json")
    given = config.get("_class_name", kind)
    if given != kind:
        raise ExportError(f"{folder} holds a {given}; expected a {kind}")
    return config


def load_weights(folder: Path, names: tuple[str, ...] = DIFFUSERS_WEIGHTS) -> dict[str, Tensor]:
    """The tensors of the best weight file in a folder.

    Raises:
        ExportError: there is none, or it can't be read.
    """
    path = find_weights(folder, Component("", names))
    if path is None:
        raise ExportError(f"{folder} has no weights; expected {names[0]} or {names[-2]}")
    return read_shards(path) if path.name.endswith(".index.json") else read_tensors(path)


def _new_name(key: str) -> str:
    match = _OLD_KEY.fullmatch(key)
    return f"{match[1]}.{_OLD_ATTENTION[match[2]]}.{match[3]}" if match else key
