"""The networks of a bundle: diffusers' own blocks behind a bundle's inputs and outputs."""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    ControlNetModel,
    T2IAdapter,
    UNet2DConditionModel,
)
from torch import Tensor, nn
from transformers import CLIPTextModel

from .adapter import ConditionAdapter, timestep_embedding
from .layout import has_cross_attention


class Backbone(nn.Module):
    """The UNet with per-row guidance, and both residual sets or none: noise_pred (B, 4, h, w).

    deep_levels: after it come the first so many of `layout.deep_features`, for a `ShallowBackbone`
    each. attention_stride: after those come the attention maps (B, T, h / stride, w / stride), the
    mean over the heads and layers of the encoder's and decoder's level of that size; None: none.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        deep_levels: int = 0,
        attention_stride: int | None = None,
    ) -> None:
        super().__init__()
        self.unet, self.deep_levels = unet, deep_levels
        self.attention_stride = attention_stride

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        attn_scale: Tensor,
        argmax_mask: Tensor,
        *residuals: Tensor,
    ) -> Tensor | tuple[Tensor, ...]:
        """`residuals`: intrablock, then down, then the middle one, in the order of the layout."""
        unet = self.unet
        blocks = len(unet.down_blocks)
        intrablock, later = residuals[:blocks], residuals[blocks:]
        emb = timestep_embedding(unet, timestep, sample.dtype)
        guided = _guided(encoder_hidden_states, attn_scale, argmax_mask)
        seen: list[Tensor] = []
        watched = guided if self.attention_stride is None else _watched(guided, seen)
        hidden, skips = encode(unet, unet.conv_in(sample), emb, watched, intrablock)
        hidden = _middle(unet, hidden, emb, guided)
        if later:
            *down, middle = later
            skips = [skip + residual for skip, residual in zip(skips, down, strict=True)]
            hidden = hidden + middle
        hidden, entered = _decode(unet, list(unet.up_blocks), hidden, skips, emb, watched)
        deep = entered[::-1][: self.deep_levels]
        noise = _predict_noise(unet, hidden)
        maps = [] if self.attention_stride is None else [self._attention_maps(sample, seen)]
        return (noise, *deep, *maps) if deep or maps else noise

    def _attention_maps(self, sample: Tensor, seen: list[Tensor]) -> Tensor:
        """seen: (B, P, T) of each layer, of whatever size."""
        assert self.attention_stride is not None
        height, width = (side // self.attention_stride for side in sample.shape[2:])
        layers = [weights for weights in seen if weights.shape[1] == height * width]
        mean = torch.stack(layers).mean(0)
        return mean.transpose(1, 2).reshape(mean.shape[0], mean.shape[2], height, width)


class ShallowBackbone(nn.Module):
    """The outer `level` levels of the UNet, over deep features of an earlier step: noise_pred.

    DeepCache (Ma et al., CVPR 2024): from step to step, features change less the deeper they lie.
    """

    def __init__(self, unet: UNet2DConditionModel, level: int) -> None:
        super().__init__()
        self.unet, self.level = unet, level

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        attn_scale: Tensor,
        argmax_mask: Tensor,
        deep_features: Tensor,
        *residuals: Tensor,
    ) -> Tensor:
        """`residuals`: those intrablock, then those down, that enter the outer levels."""
        unet, level = self.unet, self.level
        intrablock, down = residuals[:level], residuals[level:]
        emb = timestep_embedding(unet, timestep, sample.dtype)
        guided = _guided(encoder_hidden_states, attn_scale, argmax_mask)
        _, skips = encode(unet, unet.conv_in(sample), emb, guided, intrablock, blocks=level)
        # The last skip leads to the level below.
        skips = [skip + residual for skip, residual in zip(skips[:-1], down, strict=True)]
        blocks = list(unet.up_blocks)[-level:]
        hidden, _ = _decode(unet, blocks, deep_features, skips, emb, guided)
        return _predict_noise(unet, hidden)


class Adapter(nn.Module):
    """A condition factor's adapter together with the backbone's own timestep embedding."""

    def __init__(self, adapter: ConditionAdapter, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.adapter = adapter
        self.time_proj, self.time_embedding = unet.time_proj, unet.time_embedding

    def forward(self, sample: Tensor, timestep: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.adapter(sample, timestep_embedding(self, timestep, sample.dtype)))


class Hint(nn.Module):
    """The ControlNet's hint encoder: RGB in 0..1 to the latent's resolution."""

    def __init__(self, controlnet: ControlNetModel) -> None:
        super().__init__()
        self.embedding = controlnet.controlnet_cond_embedding
        self.bgr = controlnet.config.controlnet_conditioning_channel_order == "bgr"

    def forward(self, controlnet_cond: Tensor) -> Tensor:
        order = controlnet_cond.flip(1) if self.bgr else controlnet_cond
        return cast(Tensor, self.embedding(order))


class ControlNet(nn.Module):
    """The ControlNet after its hint encoder; `conditioning_scale` is per row."""

    def __init__(self, controlnet: ControlNetModel) -> None:
        super().__init__()
        self.controlnet = controlnet

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        hint: Tensor,
        conditioning_scale: Tensor,
    ) -> tuple[Tensor, ...]:
        net = self.controlnet
        emb = timestep_embedding(net, timestep, sample.dtype)
        context = {"encoder_hidden_states": encoder_hidden_states}
        hidden, skips = encode(net, net.conv_in(sample) + hint, emb, context, ())
        hidden = _middle(net, hidden, emb, context)
        scale = conditioning_scale[:, None, None, None]
        down = [
            layer(skip) * scale
            for layer, skip in zip(net.controlnet_down_blocks, skips, strict=True)
        ]
        return (*down, net.controlnet_mid_block(hidden) * scale)


class ImageAdapter(nn.Module):
    """A T2I-Adapter: features of a control image in 0..1, weighted per row, the same in each step.

    An adapter of one channel gets the picture's brightness (ITU-R 601, as PIL's mode L has it).
    """

    def __init__(self, adapter: T2IAdapter) -> None:
        super().__init__()
        self.adapter = adapter

    def forward(self, controlnet_cond: Tensor, conditioning_scale: Tensor) -> tuple[Tensor, ...]:
        picture = controlnet_cond
        if self.adapter.config.in_channels == 1:
            red, green, blue = (picture[:, i : i + 1] for i in range(3))
            picture = 0.299 * red + 0.587 * green + 0.114 * blue
        scale = conditioning_scale[:, None, None, None]
        return tuple(feature * scale for feature in self.adapter(picture))


class TextEncoder(nn.Module):
    """Token ids (B, T) to the embeddings (B, T, C)."""

    def __init__(self, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.text_encoder = text_encoder

    def forward(self, input_ids: Tensor) -> Tensor:
        return cast(Tensor, self.text_encoder(input_ids).last_hidden_state)


class Decoder(nn.Module):
    """Latents as the UNet sees them to a picture, black to white in -1..1.

    What lies outside isn't clipped: a runtime's Clip may make a colour of NaN (OpenVINO's does),
    which would hide it from the engine. The engine clips once it has looked.
    """

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        unscaled = latents / self.vae.config.scaling_factor
        return cast(Tensor, self.vae.decode(unscaled, return_dict=False)[0])


class PreviewDecoder(nn.Module):
    """A tiny autoencoder's decoder (TAESD): latents as the UNet sees them to a picture, as
    `Decoder`.
    """

    def __init__(self, vae: AutoencoderTiny) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        return cast(Tensor, self.vae.decode(latents, return_dict=False)[0])


class Encoder(nn.Module):
    """A picture in -1..1 to the posterior's mean, scaled as the UNet sees it."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, image: Tensor) -> Tensor:
        posterior = self.vae.encode(image, return_dict=False)[0]
        return cast(Tensor, posterior.mean * self.vae.config.scaling_factor)


def encode(
    model: UNet2DConditionModel | ControlNetModel,
    hidden: Tensor,
    emb: Tensor,
    context: dict[str, Any],
    intrablock: tuple[Tensor, ...],
    blocks: int | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """A UNet's encoder from the output of conv_in on: the last feature map, and all skips.

    intrablock: nothing, or one residual per block. A block with cross-attention adds its own; after
    the last block diffusers adds in place, so that the skip holds the residual too.
    blocks: the first so many; None for all.
    """
    skips = [hidden]
    for index, block in enumerate(model.down_blocks[:blocks]):
        if has_cross_attention(block):
            added = {"additional_residuals": intrablock[index]} if intrablock else {}
            hidden, taken = block(hidden_states=hidden, temb=emb, **context, **added)
        else:
            hidden, taken = block(hidden_states=hidden, temb=emb)
            if intrablock:
                hidden = hidden + intrablock[index]
                taken = (*taken[:-1], hidden)
        skips += taken
    return hidden, skips


def _guided(
    encoder_hidden_states: Tensor, attn_scale: Tensor, argmax_mask: Tensor
) -> dict[str, Any]:
    """What a UNet's blocks with cross-attention take beside their features."""
    return {
        "encoder_hidden_states": encoder_hidden_states,
        "cross_attention_kwargs": {"attn_scale": attn_scale, "argmax_mask": argmax_mask},
    }


def _watched(guided: dict[str, Any], seen: list[Tensor]) -> dict[str, Any]:
    """The same, and every cross-attention adds its mean weights to `seen`."""
    kwargs = {**guided["cross_attention_kwargs"], "seen": seen}
    return {**guided, "cross_attention_kwargs": kwargs}


def _decode(
    unet: UNet2DConditionModel,
    blocks: list[Any],
    hidden: Tensor,
    skips: list[Tensor],
    emb: Tensor,
    guided: dict[str, Any],
) -> tuple[Tensor, list[Tensor]]:
    """Decoder blocks over as many skips as they take: the last feature map, and what entered each
    block."""
    entered = []
    for block in blocks:
        entered.append(hidden)
        taken = len(block.resnets)
        kwargs = guided if has_cross_attention(block) else {}
        hidden = block(
            hidden_states=hidden,
            temb=emb,
            res_hidden_states_tuple=tuple(skips[-taken:]),
            **kwargs,
        )
        del skips[-taken:]
    return hidden, entered


def _predict_noise(unet: UNet2DConditionModel, hidden: Tensor) -> Tensor:
    if unet.conv_norm_out is not None:
        hidden = unet.conv_act(unet.conv_norm_out(hidden))
    return cast(Tensor, unet.conv_out(hidden))


def _middle(
    model: UNet2DConditionModel | ControlNetModel,
    hidden: Tensor,
    emb: Tensor,
    context: dict[str, Any],
) -> Tensor:
    """The middle block, where there is one; it may be without cross-attention."""
    block = model.mid_block
    if block is None:
        return hidden
    return cast(Tensor, block(hidden, emb, **(context if has_cross_attention(block) else {})))
