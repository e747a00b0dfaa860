"""Reads the parts of a single-file checkpoint, in the layout of the latent diffusion code (LDM).

diffusers' own converters know how LDM's names become diffusers'. They are run on the names alone:
what comes out says which tensor of the file each parameter is, and which tensors are left over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_controlnet_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from torch import Tensor, nn
from transformers import CLIPTextModel

from ..errors import ExportError
from .assemble import empty, fill, listed
from .families import check_checkpoint
from .folders import fill_text_encoder

_Model = TypeVar("_Model", bound=nn.Module)

UNET, VAE, TEXT_ENCODER = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."
CONTROLNET, ADAPTER = "control_model.", "model.diffusion_model.adapter."
#: Of FG-DM's joint variant: adapters beside `ADAPTER`, each behind its number.
FURTHER_ADAPTERS = "model.diffusion_model.adapters."

_TRANSFORMER = TEXT_ENCODER + "transformer."
#: What training left in a checkpoint, and parts that a bundle takes from elsewhere or not at all.
_IGNORED = (
    "model_ema.",
    ADAPTER,
    FURTHER_ADAPTERS,
    CONTROLNET,
    "safety_checker.",
    VAE + "loss.",
    TEXT_ENCODER + "logit_scale",
    TEXT_ENCODER + "text_projection",
)
#: Tables of the noise schedule that LDM's training class keeps, which follow from the betas.
_SCHEDULE = (
    "betas",
    "alphas_cumprod",
    "sqrt_",
    "log_one_minus_alphas_cumprod",
    "posterior_",
    "logvar",
    "lvlb_weights",
    "scale_factor",
)


class _Name(str):
    """A tensor's name where a converter expects the tensor; it has no shape to convert."""

    __slots__ = ()
    shape = ()
    ndim = 0


@dataclass
class Parts:
    """A checkpoint's tensors by part, with LDM's names; empty where the file has none."""

    unet: dict[str, Tensor]
    vae: dict[str, Tensor]
    text_encoder: dict[str, Tensor]


def split_checkpoint(tensors: dict[str, Tensor], origin: str) -> Parts:
    """The tensors of the UNet, the autoencoder and the text encoder; `tensors` is emptied.

    The plain weights are read. A running average (``model_ema.*``) beside them is ignored, as
    Stable Diffusion's own scripts and diffusers ignore it: files that are meant to be used with
    the average have it under the plain names already. A ControlNet and an adapter in the same file
    are ignored too; they are read by naming the file again for them.

    Raises:
        ExportError: the file is of another family, or a tensor is unknown.
    """
    check_checkpoint(tensors, origin)
    parts: dict[str, dict[str, Tensor]] = {UNET: {}, VAE: {}, TEXT_ENCODER: {}}
    unknown: list[str] = []
    for key in list(tensors):
        value = tensors.pop(key)
        if key.startswith(_IGNORED + _SCHEDULE):
            continue
        part = next((part for part in parts if key.startswith(part)), None)
        if part is None:
            unknown.append(key)
        else:
            parts[part][key] = value
    if unknown:
        raise ExportError(
            f"{origin} holds {len(unknown)} tensors that no Stable Diffusion 1.x checkpoint has: "
            f"{listed(unknown)}"
        )
    return Parts(*parts.values())


def load_controlnet_checkpoint(
    tensors: dict[str, Tensor], config: Mapping[str, Any], origin: str
) -> ControlNetModel:
    """A ControlNet under LDM's names, with or without ``control_model.``; `tensors` is emptied.

    Raises:
        ExportError: a tensor is missing, unknown or misshapen.
    """
    model = empty(lambda: ControlNetModel(**config), origin)
    return fill(model, _renamed(tensors, convert_controlnet_checkpoint, config, origin), origin)


def load_unet_checkpoint(
    tensors: dict[str, Tensor], config: Mapping[str, Any], origin: str
) -> UNet2DConditionModel:
    """A UNet under LDM's names; `tensors` is emptied.

    Raises:
        ExportError: a tensor is missing, unknown or misshapen, or it has no middle block.
    """
    if not any(key.startswith(f"{UNET}middle_block.") for key in tensors):
        raise ExportError(
            f"{origin} has no middle block, as distilled models (BK-SDM, Segmind small and tiny) "
            "have none; one file doesn't say what they look like. Give their diffusers folder"
        )
    model = empty(lambda: UNet2DConditionModel(**config), origin)
    return fill(model, _renamed(tensors, convert_ldm_unet_checkpoint, config, origin), origin)


def load_vae_checkpoint(
    tensors: dict[str, Tensor], config: Mapping[str, Any], origin: str
) -> AutoencoderKL:
    """An autoencoder under LDM's names; `tensors` is emptied.

    Raises:
        ExportError: a tensor is missing, unknown or misshapen.
    """
    model = empty(lambda: AutoencoderKL(**config), origin)
    renamed = _renamed(tensors, convert_ldm_vae_checkpoint, config, origin)
    for key, value in renamed.items():
        # LDM writes the attention's linear layers as convolutions with a 1x1 kernel.
        if ".attentions." in key and tuple(value.shape[2:]) == (1, 1):
            renamed[key] = value.flatten(1)
    return fill(model, renamed, origin)


def load_text_encoder_checkpoint(
    tensors: dict[str, Tensor], config: Mapping[str, Any], origin: str
) -> CLIPTextModel:
    """CLIP's text encoder out of a checkpoint; `tensors` is emptied.

    Raises:
        ExportError: a tensor is missing, unknown or misshapen.
    """
    named = text_encoder_tensors(tensors)
    tensors.clear()
    return fill_text_encoder(dict(config), named, origin)


def text_encoder_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a whole checkpoint the text encoder's tensors under transformers' names; else all."""
    if not any(key.startswith(TEXT_ENCODER) for key in tensors):
        return dict(tensors)
    return {
        key.removeprefix(_TRANSFORMER): value
        for key, value in tensors.items()
        if key.startswith(TEXT_ENCODER) and not key.startswith(_IGNORED)
    }


def _renamed(
    tensors: dict[str, Tensor],
    convert: Callable[[dict[str, Any], Mapping[str, Any]], dict[str, Any]],
    config: Mapping[str, Any],
    origin: str,
) -> dict[str, Tensor]:
    """The tensors under diffusers' names; those that `convert` leaves out keep their own."""
    try:
        names = convert({key: _Name(key) for key in tensors}, config)
    except (KeyError, ValueError, IndexError) as error:
        raise ExportError(f"{origin} lacks a tensor beside those it has: {error}") from error
    renamed = {new: tensors.pop(old) for new, old in names.items() if old is not None}
    renamed.update(tensors)
    tensors.clear()
    return renamed
