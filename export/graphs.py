"""The graphs of a bundle: what each is called, and what goes in and out."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    ControlNetModel,
    T2IAdapter,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel

from .adapter import ConditionAdapter
from .attention import use_plain_attention, use_segfree_attention
from .errors import ExportError
from .layout import (
    BackboneLayout,
    Residual,
    attention_stride,
    backbone_layout,
    deep_features,
    total_stride,
)
from .modules import (
    Adapter,
    Backbone,
    ControlNet,
    Decoder,
    Encoder,
    Hint,
    ImageAdapter,
    PreviewDecoder,
    ShallowBackbone,
    TextEncoder,
)
from .signature import (
    IMAGE_SIZE,
    Graph,
    TensorSpec,
    cycle,
    integers,
    latent_size,
    one_token,
    uniform,
)

#: The backbone that factors share, and what `shallow_backbone_graph` names after it.
BACKBONE = "backbone"
#: How many outer levels may be computed alone where a factor caches the others; more would save
#: nothing worth the memory.
CACHE_LEVELS = 2
#: What a backbone makes beside the noise where that was asked for: from where each token is looked
#: at, (B, T, h, w).
ATTENTION_MAPS = "attention_maps"


def _features(name: str, residual: Residual) -> TensorSpec:
    shape = ("batch", residual.channels, *latent_size(residual.stride))
    return TensorSpec(name, shape, between_graphs=True)


def _all_features(name: str, residuals: tuple[Residual, ...]) -> tuple[TensorSpec, ...]:
    return tuple(_features(f"{name}_{i}", residual) for i, residual in enumerate(residuals))


def _controlnet_features(layout: BackboneLayout) -> tuple[TensorSpec, ...]:
    down = _all_features("down_residual", layout.down)
    return (*down, _features("mid_residual", layout.middle))


def _latent(name: str, channels: int) -> TensorSpec:
    return TensorSpec(name, ("batch", channels, *latent_size()))


def _picture(name: str, low: float = -1.0) -> TensorSpec:
    return TensorSpec(name, ("batch", 3, *IMAGE_SIZE), draw=uniform(low, 1.0))


_CONDITIONING_SCALE = TensorSpec("conditioning_scale", ("batch",), draw=uniform(0.0, 2.0))
_TIMESTEP = TensorSpec("timestep", ("batch",), draw=integers(1000, torch.float32))


def _context(max_length: int, width: int) -> TensorSpec:
    shape = ("batch", max_length, width)
    return TensorSpec("encoder_hidden_states", shape, between_graphs=True)


def _hint(controlnet: ControlNetModel) -> TensorSpec:
    return _features("hint", Residual(controlnet.conv_in.out_channels, stride=1))


def backbone_graph(
    unet: UNet2DConditionModel,
    max_length: int,
    deep_levels: int = 0,
    attention_maps: bool = False,
) -> Graph:
    """deep_levels: as of `Backbone`. attention_maps: whether it makes them; ExportError for a UNet
    that has none to make."""
    layout = backbone_layout(unet)
    residuals = (
        *_all_features("intrablock_residual", layout.intrablock),
        *_controlnet_features(layout),
    )
    stride = _attention_stride(BACKBONE, unet) if attention_maps else None
    module = Backbone(unet, deep_levels, stride)
    deep = tuple(_deep_features(unet, level) for level in range(1, deep_levels + 1))
    return _backbone(BACKBONE, module, max_length, residuals, deep)


def own_backbone_graph(
    name: str, unet: UNet2DConditionModel, max_length: int, attention_maps: bool = False
) -> Graph:
    """A factor's own backbone, which takes no residuals. Its `sample` has 4 channels for each
    latent that it sees. attention_maps: as of `backbone_graph`."""
    stride = _attention_stride(name, unet) if attention_maps else None
    return _backbone(name, Backbone(unet, attention_stride=stride), max_length)


def _attention_stride(name: str, unet: UNet2DConditionModel) -> int:
    stride = attention_stride(unet)
    if stride is None:
        raise ExportError(
            f"{name} has no cross-attention in its encoder or decoder, so that there are no "
            "attention maps to make; leave --attention-maps out"
        )
    return stride


def shallow_backbone_graph(unet: UNet2DConditionModel, max_length: int, level: int) -> Graph:
    """The backbone's outer `level` levels, over the deep features that the backbone made."""
    layout = backbone_layout(unet)
    skips = sum(len(block.resnets) for block in list(unet.up_blocks)[-level:])
    inputs = (
        _deep_features(unet, level),
        *_all_features("intrablock_residual", layout.intrablock[:level]),
        *_all_features("down_residual", layout.down[:skips]),
    )
    return _backbone(_shallow(level), ShallowBackbone(unet, level), max_length, inputs)


def cache_levels(unet: UNet2DConditionModel) -> range:
    """The numbers of outer levels that `shallow_backbone_graph` makes graphs of."""
    return range(1, min(CACHE_LEVELS, len(unet.up_blocks) - 1) + 1)


def shallow_backbones(unet: UNet2DConditionModel) -> list[dict[str, Any]]:
    """What the manifest says of the shallow backbones, by level."""
    return [
        {"graph": _shallow(level), **deep_features(unet)[level - 1].as_json()}
        for level in cache_levels(unet)
    ]


def is_shallow(graph: Graph) -> bool:
    """Whether it is one of `shallow_backbone_graph`."""
    return isinstance(graph.module, ShallowBackbone)


def _shallow(level: int) -> str:
    return f"{BACKBONE}_shallow_{level}"


def _deep_features(unet: UNet2DConditionModel, level: int) -> TensorSpec:
    return _features(f"deep_features_{level}", deep_features(unet)[level - 1])


def _backbone(
    name: str,
    module: Backbone | ShallowBackbone,
    max_length: int,
    features: tuple[TensorSpec, ...] = (),
    deep: tuple[TensorSpec, ...] = (),
) -> Graph:
    """features: what it takes beside the latents. deep: what it makes beside the noise."""
    unet = module.unet
    use_segfree_attention(unet)
    stride = module.attention_stride if isinstance(module, Backbone) else None
    maps = (
        []
        if stride is None
        else [TensorSpec(ATTENTION_MAPS, ("batch", max_length, *latent_size(stride)))]
    )
    return Graph(
        name,
        module,
        (
            _latent("sample", unet.config.in_channels),
            _TIMESTEP,
            _context(max_length, unet.config.cross_attention_dim),
            TensorSpec("attn_scale", ("batch",), draw=cycle(-10.0, 0.0, 1.0)),
            TensorSpec("argmax_mask", ("batch", max_length), "bool", one_token),
            *features,
        ),
        (_latent("noise_pred", unet.config.out_channels), *deep, *maps),
        multiple=total_stride(unet),
        attention_stride=stride,
    )


def adapter_graph(name: str, adapter: ConditionAdapter, unet: UNet2DConditionModel) -> Graph:
    """Its `sample` has 4 channels for each latent that the adapter sees."""
    layout = backbone_layout(unet)
    return Graph(
        name,
        Adapter(adapter, unet),
        (_latent("sample", adapter.config.in_channels), _TIMESTEP),
        _all_features("intrablock_residual", layout.intrablock),
        multiple=layout.multiple,
    )


def hint_graph(name: str, controlnet: ControlNetModel, downscale: int) -> Graph:
    return Graph(
        f"{name}_hint",
        Hint(controlnet),
        (_picture("controlnet_cond", low=0.0),),
        (_hint(controlnet),),
        downscale=downscale,
    )


def controlnet_graph(name: str, controlnet: ControlNetModel, max_length: int) -> Graph:
    use_plain_attention(controlnet)
    layout = backbone_layout(controlnet)
    return Graph(
        name,
        ControlNet(controlnet),
        (
            _latent("sample", controlnet.config.in_channels),
            _TIMESTEP,
            _context(max_length, controlnet.config.cross_attention_dim),
            _hint(controlnet),
            _CONDITIONING_SCALE,
        ),
        _controlnet_features(layout),
        multiple=layout.multiple,
    )


def t2i_adapter_graph(
    name: str, adapter: T2IAdapter, layout: BackboneLayout, downscale: int
) -> Graph:
    return Graph(
        name,
        ImageAdapter(adapter),
        (_picture("controlnet_cond", low=0.0), _CONDITIONING_SCALE),
        _all_features("intrablock_residual", layout.intrablock),
        downscale=downscale,
        multiple=layout.multiple,
    )


def text_encoder_graph(text_encoder: CLIPTextModel, max_length: int) -> Graph:
    config = text_encoder.config
    ids = integers(config.vocab_size, torch.int64)
    return Graph(
        "text_encoder",
        TextEncoder(text_encoder),
        (TensorSpec("input_ids", ("batch", max_length), "int64", ids),),
        (_context(max_length, config.hidden_size),),
    )


def decoder_graph(vae: AutoencoderKL, downscale: int) -> Graph:
    latents = _latent("latents", vae.config.latent_channels)
    return Graph("vae_decoder", Decoder(vae), (latents,), (_picture("image"),), downscale)


def preview_decoder_graph(vae: AutoencoderTiny, downscale: int) -> Graph:
    latents = _latent("latents", vae.config.latent_channels)
    return Graph(
        "preview_decoder", PreviewDecoder(vae), (latents,), (_picture("image"),), downscale
    )


def encoder_graph(vae: AutoencoderKL, downscale: int) -> Graph:
    latents = _latent("latents", vae.config.latent_channels)
    return Graph("vae_encoder", Encoder(vae), (_picture("image"),), (latents,), downscale)
