"""All models of a bundle, loaded, and refused where they don't fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    ControlNetModel,
    T2IAdapter,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel

from ..adapter import ConditionAdapter, TimestepAdapter
from ..errors import ExportError
from ..layout import BackboneLayout, backbone_layout
from .adapters import load_adapter
from .base import load_base
from .controlnets import load_controlnet
from .loras import Lora, merge_lora
from .places import Source
from .textual_inversion import TextualInversion, add_word
from .tiny_decoder import load_tiny_decoder
from .tokenizers import Tokenizer


@dataclass(frozen=True)
class Models:
    """The loaded models, in float32 on the CPU, the tokenizer, and the base's noise schedule."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    adapter: ConditionAdapter
    controlnets: tuple[ControlNetModel, ...]
    t2i_adapters: tuple[T2IAdapter, ...]
    tiny_decoder: AutoencoderTiny | None
    tokenizer: Tokenizer
    scheduler: Mapping[str, Any]
    layout: BackboneLayout

    @property
    def max_length(self) -> int:
        """Tokens of a prompt with the first and the last: what fits, or what the tokenizer says."""
        positions = int(self.text_encoder.config.max_position_embeddings)
        return min(positions, self.tokenizer.max_length or positions)

    @property
    def downscale(self) -> int:
        """Pixels per latent cell along one axis."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def image_size(self) -> tuple[int, int]:
        """The size that the autoencoder was made for, height and width in pixels."""
        size = int(self.vae.config.sample_size)
        return size, size


def load_models(
    base: Source,
    adapter: Source,
    controlnets: Sequence[Source],
    *,
    t2i_adapters: Sequence[Source] = (),
    tokenizer: Source | None = None,
    vae: Source | None = None,
    text_encoder: Source | None = None,
    loras: Sequence[Lora] = (),
    textual_inversions: Sequence[TextualInversion] = (),
    tiny_decoder: Source | None = None,
) -> Models:
    """Read a base, a condition factor's adapter and ControlNets, merge LoRAs into the base, and
    teach it words.

    What each may be is said at `load_base`, `load_adapter`, `load_controlnet`, `load_tiny_decoder`,
    `merge_lora` and `add_word`. The base's files are mapped where their format allows, so that the
    UNet is in memory at most once.

    Raises:
        ExportError: a source can't be read, or the models don't fit together.
    """
    loaded = load_base(base, tokenizer, vae=vae, text_encoder=text_encoder)
    for lora in loras:
        merge_lora(loaded.unet, loaded.text_encoder, lora)
    words = loaded.tokenizer
    for inversion in textual_inversions:
        words = add_word(words, loaded.text_encoder, inversion)
    factor = load_adapter(adapter)
    if isinstance(factor, T2IAdapter):
        raise ExportError(
            f"the adapter {adapter} is a T2I-Adapter, which takes a picture; a condition factor "
            "needs one that takes its noisy latent. The image factor can use it: --t2i-adapter"
        )
    models = Models(
        loaded.unet,
        loaded.vae,
        loaded.text_encoder,
        factor,
        tuple(load_controlnet(source) for source in controlnets),
        tuple(_load_t2i_adapter(source) for source in t2i_adapters),
        None if tiny_decoder is None else load_tiny_decoder(tiny_decoder),
        words,
        loaded.scheduler,
        backbone_layout(loaded.unet),
    )
    _check_fit(models)
    return models


def _load_t2i_adapter(source: Source) -> T2IAdapter:
    adapter = load_adapter(source)
    if not isinstance(adapter, T2IAdapter):
        raise ExportError(
            f"{source} is a condition factor's adapter, which takes a noisy latent; expected a "
            "T2I-Adapter, which takes a picture"
        )
    return adapter


def _check_fit(models: Models) -> None:
    unet, adapter = models.unet.config, models.adapter.config
    text = models.text_encoder.config
    expectations: list[tuple[str, object, object]] = [
        (
            "the adapter's channels",
            list(adapter.channels),
            [residual.channels for residual in models.layout.intrablock],
        ),
        ("the adapter's in_channels", adapter.in_channels, unet.in_channels),
        ("the text encoder's hidden_size", text.hidden_size, unet.cross_attention_dim),
        ("the autoencoder's latent_channels", models.vae.config.latent_channels, unet.in_channels),
    ]
    if isinstance(models.adapter, TimestepAdapter):
        width = models.unet.time_embedding.linear_2.out_features
        expectations.append(("the adapter's time_embed_dim", adapter.time_embed_dim, width))
    for controlnet in models.controlnets:
        config = controlnet.config
        hint = 2 ** (len(config.conditioning_embedding_out_channels) - 1)
        expectations += [
            ("the ControlNet's residuals", backbone_layout(controlnet), models.layout),
            (
                "the ControlNet's cross_attention_dim",
                config.cross_attention_dim,
                unet.cross_attention_dim,
            ),
            ("the ControlNet's hint reduction", hint, models.downscale),
        ]
    for t2i_adapter in models.t2i_adapters:
        expectations += [
            (
                "the T2I-Adapter's channels",
                list(t2i_adapter.config.channels),
                [residual.channels for residual in models.layout.intrablock],
            ),
            (
                "the T2I-Adapter's downscale_factor",
                t2i_adapter.config.downscale_factor,
                models.downscale,
            ),
        ]
    if models.tiny_decoder is not None:
        tiny = models.tiny_decoder.config
        reduction = tiny.upsampling_scaling_factor ** (len(tiny.decoder_block_out_channels) - 1)
        expectations += [
            ("the tiny decoder's latent_channels", tiny.latent_channels, unet.in_channels),
            ("the tiny decoder's enlargement", reduction, models.downscale),
        ]
    for what, given, expected in expectations:
        if given != expected:
            raise ExportError(f"{what}: {given} given, but the base model needs {expected}")
    if models.tokenizer.largest_id >= text.vocab_size:
        raise ExportError(
            f"the tokenizer gives ids up to {models.tokenizer.largest_id}, but the text encoder "
            f"knows {text.vocab_size} tokens; give the tokenizer that it was trained with"
        )
