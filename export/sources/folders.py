"""Reads a model from a folder that diffusers or transformers wrote."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from ..errors import ExportError
from .assemble import empty, fill, listed
from .families import check_unet, check_width
from .places import DIFFUSERS_WEIGHTS, TRANSFORMERS_WEIGHTS, Component, find_weights
from .tensors import read_json, read_shards, read_tensors

_Model = TypeVar("_Model")

#: Names of attention weights that diffusers gave up, still common in published autoencoders.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_KEY = re.compile(r"(.+\.attentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)")

_TEXT_LAYER = re.compile(r"encoder\.layers\.(\d+)\.")
#: What a whole CLIP, or one with a projection, has beside the text model that is read.
_BESIDE_TEXT = (
    "embeddings.position_ids",
    "logit_scale",
    "text_projection",
    "vision_model.",
    "visual_projection.",
)


def load_folder(kind: type[_Model], folder: Path) -> _Model:
    """Read a diffusers model of the class `kind`: config.json and its weights.

    Raises:
        ExportError: a file is missing or unreadable, the model is of another class or family, or
            its tensors aren't those that its configuration asks for.
    """
    config = read_config(folder, kind.__name__)
    if kind in (UNet2DConditionModel, ControlNetModel):
        check_unet(config, str(folder))
    reader: Any = kind
    model = empty(lambda: reader.from_config(config), str(folder / "config.json"))
    tensors = load_weights(folder)
    if kind is AutoencoderKL:
        tensors = {new_attention_name(key): value for key, value in tensors.items()}
    filled: _Model = fill(model, tensors, str(folder))
    return filled


def load_text_encoder(folder: Path) -> CLIPTextModel:
    """Read CLIP's text model from a transformers folder: its own, or that of a whole CLIP.

    Raises:
        ExportError: as `load_folder`.
    """
    config = text_config(read_json(folder / "config.json"), str(folder))
    return fill_text_encoder(config, load_weights(folder, TRANSFORMERS_WEIGHTS), str(folder))


def text_config(config: dict[str, Any], origin: str) -> dict[str, Any]:
    """The configuration of CLIP's text model in one of its own or of a whole CLIP.

    Raises:
        ExportError: it is another model's, or asks for what a bundle's text encoder doesn't do.
    """
    kind = config.get("model_type", "clip_text_model")
    if kind == "clip" and isinstance(config.get("text_config"), dict):
        return text_config(
            {"model_type": "clip_text_model", **config["text_config"]}, f"{origin}'s text_config"
        )
    if kind != "clip_text_model":
        raise ExportError(f"{origin} is a {kind}; expected CLIP's text encoder (clip_text_model)")
    if config.get("use_attention_mask"):
        raise ExportError(
            f"{origin} masks its padding (use_attention_mask), which Stable Diffusion 1.x doesn't; "
            "that is not supported"
        )
    check_width(int(config.get("hidden_size", 0)), origin)
    return config


def fill_text_encoder(
    config: dict[str, Any], tensors: dict[str, Tensor], origin: str
) -> CLIPTextModel:
    """CLIP's text model from its configuration and its tensors; the latter are emptied.

    As in transformers, layers after the first `num_hidden_layers` are left out (a clip skip that is
    written into the configuration), and so is what a whole CLIP has besides.

    Raises:
        ExportError: as `assemble.fill`.
    """
    model = empty(lambda: CLIPTextModel(CLIPTextConfig.from_dict(config)), origin)
    # transformers dropped this level of names in version 5.6, and checkpoints keep it. Position ids
    # are the numbers 0 to 76, saved by old versions.
    prefix = "text_model." if hasattr(model, "text_model") else ""
    layers = int(model.config.num_hidden_layers)
    named = {}
    for key in list(tensors):
        value, name = tensors.pop(key), key.removeprefix("text_model.")
        layer = _TEXT_LAYER.match(name)
        is_beyond = layer is not None and int(layer[1]) >= layers
        if not is_beyond and not name.startswith(_BESIDE_TEXT):
            named[prefix + name] = value
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
        there = listed(sorted(entry.name for entry in folder.iterdir())) or "nothing"
        raise ExportError(
            f"{folder} has no weights; expected {names[0]}, a variant of it such as fp16, its "
            f"shards with their index, or .bin; it holds {there}"
        )
    return read_shards(path) if path.suffix == ".json" else read_tensors(path)


def new_attention_name(key: str) -> str:
    """A key of an autoencoder that an old version of diffusers wrote, as it is named today."""
    match = _OLD_KEY.fullmatch(key)
    return f"{match[1]}.{_OLD_ATTENTION[match[2]]}.{match[3]}" if match else key
