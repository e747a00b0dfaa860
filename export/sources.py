"""Reads the models that a bundle is made of, and refuses what doesn't fit together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from transformers import CLIPTextModel

from .adapter import TimestepAdapter
from .errors import ExportError
from .layout import BackboneLayout, backbone_layout

TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
_NEEDED_TOKENIZER_FILES = TOKENIZER_FILES[:2]

_Model = TypeVar("_Model")


@dataclass(frozen=True)
class Models:
    """The loaded models, in float32 on the CPU, and the tokenizer's folder."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    adapter: TimestepAdapter
    controlnet: ControlNetModel
    tokenizer: Path
    layout: BackboneLayout

    @property
    def max_length(self) -> int:
        """Tokens of a prompt, with the first and the last."""
        return int(self.text_encoder.config.max_position_embeddings)

    @property
    def downscale(self) -> int:
        """Pixels per latent cell along one axis."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def image_size(self) -> tuple[int, int]:
        """The size that the autoencoder was made for, height and width in pixels."""
        size = int(self.vae.config.sample_size)
        return size, size


def load_models(base: Path, adapter: Path, controlnet: Path) -> Models:
    """Read a diffusers folder, an adapter's and a ControlNet's.

    Raises:
        ExportError: a folder or file is missing or unreadable, or the models don't fit together.
    """
    for path in (base, adapter, controlnet):
        if not path.is_dir():
            raise ExportError(f"{path} isn't a folder; expected one written by save_pretrained")
    tokenizer = base / "tokenizer"
    for name in _NEEDED_TOKENIZER_FILES:
        if not (tokenizer / name).is_file():
            raise ExportError(f"{tokenizer} has no {name}; expected CLIP's tokenizer files")
    unet = _load(UNet2DConditionModel, base / "unet", "torch_dtype")
    models = Models(
        unet,
        _load(AutoencoderKL, base / "vae", "torch_dtype"),
        _load(CLIPTextModel, base / "text_encoder", "dtype"),
        _load(TimestepAdapter, adapter, "torch_dtype"),
        _load(ControlNetModel, controlnet, "torch_dtype"),
        tokenizer,
        backbone_layout(unet),
    )
    _check_fit(models)
    return models


def _load(kind: type[_Model], folder: Path, dtype_key: str) -> _Model:
    """`dtype_key` is what the model's library calls the type of its parameters."""
    reader: Any = kind
    try:
        model: Any = reader.from_pretrained(
            folder, local_files_only=True, **{dtype_key: torch.float32}
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ExportError(f"can't read the model in {folder}: {error}") from error
    loaded: _Model = model.eval()
    return loaded


def _check_fit(models: Models) -> None:
    unet, controlnet, adapter = models.unet.config, models.controlnet, models.adapter.config
    channels = [residual.channels for residual in models.layout.intrablock]
    hint = len(controlnet.config.conditioning_embedding_out_channels) - 1
    expectations = (
        ("the adapter's channels", list(adapter.channels), channels),
        ("the adapter's in_channels", adapter.in_channels, unet.in_channels),
        (
            "the adapter's time_embed_dim",
            adapter.time_embed_dim,
            models.unet.time_embedding.linear_2.out_features,
        ),
        ("the ControlNet's residuals", backbone_layout(controlnet), models.layout),
        (
            "the ControlNet's cross_attention_dim",
            controlnet.config.cross_attention_dim,
            unet.cross_attention_dim,
        ),
        ("the ControlNet's hint reduction", 2**hint, models.downscale),
        (
            "the text encoder's hidden_size",
            models.text_encoder.config.hidden_size,
            unet.cross_attention_dim,
        ),
        ("the autoencoder's latent_channels", models.vae.config.latent_channels, unet.in_channels),
    )
    for what, given, expected in expectations:
        if given != expected:
            raise ExportError(f"{what}: {given} given, but the base model needs {expected}")
