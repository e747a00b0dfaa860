"""An autoencoder or a text encoder from a source of its own, in place of the base's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel

from ..errors import ExportError
from .assemble import empty, fill
from .checkpoints import TEXT_ENCODER, UNET, VAE, load_vae_checkpoint, text_encoder_tensors
from .families import check_unet, refuse
from .folders import (
    fill_text_encoder,
    load_folder,
    load_text_encoder,
    new_attention_name,
    text_config,
)
from .places import DIFFUSERS_WEIGHTS, TRANSFORMERS_WEIGHTS, Component, Source, locate
from .sd1 import Architecture
from .tensors import read_json, read_tensors

_DIFFUSERS_VAE, _DIFFUSERS_UNET = "encoder.down_blocks.", "down_blocks."
#: What training left beside an autoencoder's own tensors.
_LEFT_BY_TRAINING = ("loss.", "model_ema.")


def load_vae(source: Source, architecture: Architecture) -> AutoencoderKL:
    """Read an autoencoder: a folder or repository, its own or a whole pipeline's, or one file.

    A file has LDM's names, alone or inside a whole checkpoint, or diffusers' names.

    Raises:
        ExportError: it is missing, unreadable or no autoencoder of Stable Diffusion's kind.
    """
    path = _find(source, "the autoencoder", "vae", DIFFUSERS_WEIGHTS)
    if path.is_dir():
        return load_folder(AutoencoderKL, path)
    tensors, origin = read_tensors(path), str(path)
    if any(key.startswith(VAE) for key in tensors):
        tensors = {k.removeprefix(VAE): v for k, v in tensors.items() if k.startswith(VAE)}
    tensors = {k: v for k, v in tensors.items() if not k.startswith(_LEFT_BY_TRAINING)}
    if not any(key.startswith("encoder.") for key in tensors):
        raise ExportError(
            f"{origin} isn't an autoencoder: no key begins with encoder. or {VAE}encoder."
        )
    config = _config(path, "AutoencoderKL", architecture.vae)
    if any(key.startswith(_DIFFUSERS_VAE) for key in tensors):
        model = empty(lambda: AutoencoderKL.from_config(config), origin)
        return fill(model, {new_attention_name(k): v for k, v in tensors.items()}, origin)
    return load_vae_checkpoint(tensors, config, origin)


def load_text_encoder_source(source: Source, architecture: Architecture) -> CLIPTextModel:
    """Read CLIP's text encoder: a folder or repository, its own, a whole CLIP's or a pipeline's, or
    one file: a whole checkpoint, or transformers' names.

    Raises:
        ExportError: it is missing, unreadable or not CLIP's text encoder.
    """
    path = _find(source, "the text encoder", "text_encoder", TRANSFORMERS_WEIGHTS)
    if path.is_dir():
        return load_text_encoder(path)
    tensors, origin = read_tensors(path), str(path)
    if any(key.startswith(f"{TEXT_ENCODER}model.") for key in tensors):
        refuse(origin, "a Stable Diffusion 2.x checkpoint")
    tensors = text_encoder_tensors(tensors)
    if not any(key.endswith("embeddings.token_embedding.weight") for key in tensors):
        raise ExportError(f"{origin} isn't CLIP's text encoder: it has no token_embedding.weight")
    sibling = path.with_name("config.json")
    config = (
        text_config(read_json(sibling), str(path.parent))
        if sibling.is_file()
        else dict(architecture.text_encoder)
    )
    return fill_text_encoder(config, tensors, origin)


def load_unet_file(
    tensors: dict[str, Tensor], path: Path, architecture: Architecture
) -> UNet2DConditionModel:
    """A UNet alone under diffusers' names; the config.json beside it says what it looks like.

    Raises:
        ExportError: it is another family's, or its tensors aren't those of its configuration.
    """
    config = _config(path, "UNet2DConditionModel", architecture.unet)
    check_unet(config, str(path))
    model = empty(lambda: UNet2DConditionModel.from_config(config), str(path))
    return fill(model, tensors, str(path))


def is_diffusers_unet(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a file holds a UNet alone, under diffusers' names."""
    return "conv_in.weight" in tensors and any(k.startswith(_DIFFUSERS_UNET) for k in tensors)


def with_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A UNet alone under LDM's names without the prefix gets it; other files stay as they are."""
    bare = ("input_blocks.", "diffusion_model.input_blocks.")
    for start in bare:
        if f"{start}0.0.weight" in tensors and "input_hint_block.0.weight" not in tensors:
            behind = start.removesuffix("input_blocks.")
            return {UNET + key.removeprefix(behind): value for key, value in tensors.items()}
    return tensors


def _find(source: Source, what: str, folder: str, weights: tuple[str, ...]) -> Path:
    """The file, or the folder with the config.json: `folder` inside a pipeline, or the root."""
    root = locate(source, what, (Component(folder, weights), Component("", weights)))
    inner = root / folder
    return inner if (inner / "config.json").is_file() else root


def _config(path: Path, kind: str, default: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json beside a file if it is of the class `kind`, else the default."""
    sibling = path.with_name("config.json")
    config = read_json(sibling) if sibling.is_file() else {}
    return config if config.get("_class_name") == kind else dict(default)
