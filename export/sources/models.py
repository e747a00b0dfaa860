"""All models of a bundle, loaded, and refused where they don't fit together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

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
from .adapters import load_adapter, load_adapters
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
    adapters: tuple[tuple[ConditionAdapter, ...], ...]  # those of each source
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
    adapters: Sequence[Source],
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
    """Read a base, condition factors' adapters and ControlNets, merge LoRAs into the base, and
    teach it words.

    What each may be is said at `load_base`, `load_adapters`, `load_controlnet`,
    `load_tiny_decoder`, `merge_lora` and `add_word`. The base's files are mapped where
    their format allows, so that the UNet is in memory at most once.

    Raises:
        ExportError: a source can't be read, or the models don't fit together.
    """
    loaded = load_base(base, tokenizer, vae=vae, text_encoder=text_encoder)
    for lora in loras:
        merge_lora(loaded.unet, loaded.text_encoder, lora)
    words = loaded.tokenizer
    for inversion in textual_inversions:
        words = add_word(words, loaded.text_encoder, inversion)
    models = Models(
        loaded.unet,
        loaded.vae,
        loaded.text_encoder,
        tuple(load_condition_adapters(source) for source in adapters),
        tuple(load_controlnet(source) for source in controlnets),
        tuple(load_t2i_adapter(source) for source in t2i_adapters),
        None if tiny_decoder is None else load_tiny_decoder(tiny_decoder),
        words,
        loaded.scheduler,
        backbone_layout(loaded.unet),
    )
    _check_fit(models)
    return models


def load_condition_adapters(source: Source) -> tuple[ConditionAdapter, ...]:
    """The adapters of a source for a condition factor: several of a file of the joint variant.

    Raises:
        ExportError: as `load_adapters`; or it is a T2I-Adapter.
    """
    adapters = load_adapters(source)
    if any(isinstance(adapter, T2IAdapter) for adapter in adapters):
        raise ExportError(
            f"the adapter {source} is a T2I-Adapter, which takes a picture; a condition factor "
            "needs one that takes its noisy latent. The image factor can use it: --t2i-adapter"
        )
    return cast("tuple[ConditionAdapter, ...]", adapters)


def load_t2i_adapter(source: Source) -> T2IAdapter:
    """A T2I-Adapter; ExportError for a condition factor's."""
    adapter = load_adapter(source)
    if not isinstance(adapter, T2IAdapter):
        raise ExportError(
            f"{source} is a condition factor's adapter, which takes a noisy latent; expected a "
            "T2I-Adapter, which takes a picture"
        )
    return adapter


def check_networks(
    unet: UNet2DConditionModel,
    downscale: int,
    adapters: Iterable[ConditionAdapter],
    controlnets: Iterable[ControlNetModel],
    t2i_adapters: Iterable[T2IAdapter],
) -> None:
    """Raises ExportError if a network doesn't fit the UNet, or pictures `downscale` times as large
    as latents."""
    layout = backbone_layout(unet)
    channels = [residual.channels for residual in layout.intrablock]
    expectations: list[tuple[str, object, object]] = []
    for adapter in adapters:
        given, latent = adapter.config.in_channels, unet.config.in_channels
        expectations += [
            ("the adapter's channels", list(adapter.config.channels), channels),
            ("the adapter's in_channels", given, max(1, given // latent) * latent),
        ]
        if isinstance(adapter, TimestepAdapter):
            width = unet.time_embedding.linear_2.out_features
            expectations.append(
                ("the adapter's time_embed_dim", adapter.config.time_embed_dim, width)
            )
    for controlnet in controlnets:
        config = controlnet.config
        hint = 2 ** (len(config.conditioning_embedding_out_channels) - 1)
        expectations += [
            ("the ControlNet's residuals", backbone_layout(controlnet), layout),
            (
                "the ControlNet's cross_attention_dim",
                config.cross_attention_dim,
                unet.config.cross_attention_dim,
            ),
            ("the ControlNet's hint reduction", hint, downscale),
        ]
    for t2i_adapter in t2i_adapters:
        config = t2i_adapter.config
        expectations += [
            ("the T2I-Adapter's channels", list(config.channels), channels),
            ("the T2I-Adapter's downscale_factor", config.downscale_factor, downscale),
        ]
    _check_equal(expectations)


def _check_fit(models: Models) -> None:
    unet, text = models.unet.config, models.text_encoder.config
    check_networks(
        models.unet,
        models.downscale,
        (adapter for source in models.adapters for adapter in source),
        models.controlnets,
        models.t2i_adapters,
    )
    expectations: list[tuple[str, object, object]] = [
        ("the text encoder's hidden_size", text.hidden_size, unet.cross_attention_dim),
        ("the autoencoder's latent_channels", models.vae.config.latent_channels, unet.in_channels),
    ]
    if models.tiny_decoder is not None:
        tiny = models.tiny_decoder.config
        reduction = tiny.upsampling_scaling_factor ** (len(tiny.decoder_block_out_channels) - 1)
        expectations += [
            ("the tiny decoder's latent_channels", tiny.latent_channels, unet.in_channels),
            ("the tiny decoder's enlargement", reduction, models.downscale),
        ]
    _check_equal(expectations)
    if models.tokenizer.largest_id >= text.vocab_size:
        raise ExportError(
            f"the tokenizer gives ids up to {models.tokenizer.largest_id}, but the text encoder "
            f"knows {text.vocab_size} tokens; give the tokenizer that it was trained with"
        )


def _check_equal(expectations: Iterable[tuple[str, object, object]]) -> None:
    for what, given, expected in expectations:
        if given != expected:
            raise ExportError(f"{what}: {given} given, but the base model needs {expected}")
