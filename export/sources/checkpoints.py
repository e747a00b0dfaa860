"""Reads the parts of a single-file checkpoint, in the layout of the latent diffusion code (LDM).

diffusers' own converters know how LDM's names become diffusers'. They are run on the names alone:
what comes out says which tensor of the file each parameter is, and which tensors are left over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from .sd1 import Architecture

_Model = TypeVar("_Model", bound=nn.Module)

UNET, VAE, TEXT_ENCODER = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."
CONTROLNET, ADAPTER = "control_model.", "model.diffusion_model.adapter."

_TRANSFORMER = TEXT_ENCODER + "transformer."
#: What training left in a checkpoint, and parts that a bundle takes from elsewhere or not at all.
_IGNORED = (
    "model_ema.",
    ADAPTER,
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


def load_parts(
    tensors: dict[str, Tensor], architecture: Architecture, origin: str
) -> tuple[UNet2DConditionModel, AutoencoderKL, CLIPTextModel]:
    """The UNet, the autoencoder and the text encoder of a checkpoint; `tensors` is emptied.

    The plain weights are read. A running average (``model_ema.*``) beside them is ignored, as
    Stable Diffusion's own scripts and diffusers ignore it: files that are meant to be used with
    the average have it under the plain names already. A ControlNet and an adapter in the same file
    are ignored too; they are read by naming the file again for them.

    Raises:
        ExportError: the file is of another family, a tensor is missing, unknown or misshapen.
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
    for part, what in ((VAE, "autoencoder"), (TEXT_ENCODER, "text encoder")):
        if not parts[part]:
            raise ExportError(
                f"{origin} has no {what} ({part}*); expected a whole checkpoint, not a UNet alone"
            )
    return (
        _load_unet(parts[UNET], architecture.unet, origin),
        _load_vae(parts[VAE], architecture.vae, origin),
        _load_text_encoder(parts[TEXT_ENCODER], architecture.text_encoder, origin),
    )


def load_controlnet_checkpoint(
    tensors: dict[str, Tensor], config: Mapping[str, Any], origin: str
) -> ControlNetModel:
    """A ControlNet under LDM's names, with or without ``control_model.``; `tensors` is emptied.

    Raises:
        ExportError: a tensor is missing, unknown or misshapen.
    """
    model = empty(lambda: ControlNetModel(**config), origin)
    return fill(model, _renamed(tensors, convert_controlnet_checkpoint, config, origin), origin)


def _load_unet(
    tensors: dict[str, Tensor], config: Mapping[str, Any], origin: str
) -> UNet2DConditionModel:
    model = empty(lambda: UNet2DConditionModel(**config), origin)
    return fill(model, _renamed(tensors, convert_ldm_unet_checkpoint, config, origin), origin)


def _load_vae(tensors: dict[str, Tensor], config: Mapping[str, Any], origin: str) -> AutoencoderKL:
    model = empty(lambda: AutoencoderKL(**config), origin)
    renamed = _renamed(tensors, convert_ldm_vae_checkpoint, config, origin)
    for key, value in renamed.items():
        # LDM writes the attention's linear layers as convolutions with a 1x1 kernel.
        if ".attentions." in key and tuple(value.shape[2:]) == (1, 1):
            renamed[key] = value.flatten(1)
    return fill(model, renamed, origin)


def _load_text_encoder(
    tensors: dict[str, Tensor], config: Mapping[str, Any], origin: str
) -> CLIPTextModel:
    named = {key.removeprefix(_TRANSFORMER): value for key, value in tensors.items()}
    tensors.clear()
    return fill_text_encoder(dict(config), named, origin)


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
