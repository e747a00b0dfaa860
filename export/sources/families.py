"""Tells Stable Diffusion 1.x from its relatives, and refuses those by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from torch import Tensor

from ..errors import ExportError
from .sd1 import SUPPORTED

_UNET = "model.diffusion_model."
_CONTEXT_KEY = _UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"

#: Beginnings of keys that only one family's files have.
_BY_KEY = (
    ("a Stable Diffusion XL checkpoint", ("conditioner.embedders.", _UNET + "label_emb.")),
    ("a Stable Diffusion 2.x checkpoint", ("cond_stage_model.model.",)),
    ("a Stable Diffusion 3 checkpoint", (_UNET + "joint_blocks.", "joint_blocks.")),
    ("a Flux checkpoint", (_UNET + "double_blocks.", "double_blocks.")),
    ("a checkpoint with v-prediction", ("v_pred", "edm_mean", "ztsnr")),
)
#: The same, for files that have their own option.
_BY_OPTION = (
    ("a LoRA, which --lora merges into a base", ("lora_unet_", "lora_te_", "unet.")),
    ("a ControlNet, which --controlnet takes", ("control_model.", "input_hint_block.")),
    ("a condition adapter, which --adapter takes", ("body.", "adapter.", _UNET + "adapter.")),
)
_BY_WIDTH = {
    1024: "Stable Diffusion 2.x (a 1024-wide context)",
    1280: "Stable Diffusion XL's refiner (a 1280-wide context)",
    2048: "Stable Diffusion XL (a 2048-wide context)",
}
_BY_CHANNELS = {
    5: "a depth-conditioned model (5 input channels)",
    7: "an upscaler (7 input channels)",
    8: "InstructPix2Pix (8 input channels)",
    9: "an inpainting model (9 input channels)",
}
#: Entries of a UNet's configuration that Stable Diffusion 1.x leaves empty.
_FOREIGN_ENTRIES = {
    "addition_embed_type": "a model with added conditions, such as Stable Diffusion XL",
    "time_cond_proj_dim": "a latent consistency model, which takes its guidance scale as an input",
    "encoder_hid_dim_type": "a model with a projected context, such as Kandinsky",
    "class_embed_type": "a class-conditioned model, such as an upscaler",
    "num_class_embeds": "a class-conditioned model, such as an upscaler",
    "center_input_sample": "a model that shifts its latents first",
    "time_embedding_act_fn": "a model with an activation after its timestep embedding",
}
#: Blocks of a UNet's encoder, middle and decoder that a bundle's graphs are made for.
_BLOCKS = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "mid_block_type": ("UNetMidBlock2DCrossAttn", "UNetMidBlock2D"),
}


def check_checkpoint(tensors: Mapping[str, Tensor], origin: str) -> None:
    """Refuse a single file that isn't a Stable Diffusion 1.x checkpoint.

    Raises:
        ExportError: it is another family's or another model's; the message says whose.
    """
    for family, beginnings in _BY_KEY:
        if any(key.startswith(beginnings) for key in tensors):
            refuse(origin, family)
    first = tensors.get(_UNET + "input_blocks.0.0.weight")
    if first is None:
        for what, beginnings in _BY_OPTION:
            if any(key.startswith(beginnings) for key in tensors):
                raise ExportError(f"{origin} is {what}; expected a checkpoint of {SUPPORTED}")
        raise ExportError(
            f"{origin} has no {_UNET}input_blocks; it holds {_heads(tensors)}. Expected a "
            f"checkpoint of {SUPPORTED}"
        )
    if first.ndim > 1:
        _check_channels(int(first.shape[1]), origin)
    context = tensors.get(_CONTEXT_KEY)
    if context is not None and context.ndim > 1:
        check_width(int(context.shape[1]), origin)


def check_unet(config: Mapping[str, Any], origin: str) -> None:
    """Refuse the configuration of a UNet, or of a ControlNet, of another family.

    Raises:
        ExportError: it is another family's; the message says whose.
    """
    for entry, family in _FOREIGN_ENTRIES.items():
        if config.get(entry) not in (None, False):
            refuse(origin, f"{family} ({entry} is {config[entry]!r})")
    if config.get("attention_type", "default") != "default":
        refuse(origin, "a model with grounded attention, such as GLIGEN")
    if config.get("time_embedding_type", "positional") != "positional":
        refuse(origin, f"a model with a {config['time_embedding_type']} timestep embedding")
    for entry, known in _BLOCKS.items():
        given = config.get(entry)
        for block in given if isinstance(given, list | tuple) else [given]:
            if block is not None and block not in known:
                refuse(origin, f"a model with a {block} among its blocks ({entry})")
    channels = config.get("in_channels", 4)
    if channels != config.get("out_channels", channels):
        _check_channels(channels, origin)
        refuse(origin, f"a model with {channels} input channels and {config['out_channels']} out")
    width = config.get("cross_attention_dim")
    if isinstance(width, int):
        check_width(width, origin)


def check_width(width: int, origin: str) -> None:
    """Refuse the width of a context that belongs to another family."""
    if width in _BY_WIDTH:
        refuse(origin, _BY_WIDTH[width])


def check_pipeline(name: str, origin: str) -> None:
    """Refuse the class of a diffusers pipeline, as model_index.json names it, of another family."""
    is_relative = not name or name.startswith("StableDiffusion")
    if not is_relative or name.startswith(("StableDiffusionXL", "StableDiffusion3")):
        refuse(origin, f"for the {name}")


def refuse(origin: str, family: str) -> NoReturn:
    raise ExportError(f"{origin} is {family}; supported is {SUPPORTED}")


def _check_channels(channels: int, origin: str) -> None:
    if channels in _BY_CHANNELS:
        refuse(origin, _BY_CHANNELS[channels])


def _heads(keys: Iterable[str]) -> str:
    heads = sorted({".".join(key.split(".")[:2]) for key in keys})
    return ", ".join(heads[:5]) + (", …" if len(heads) > 5 else "") if heads else "no tensors"
