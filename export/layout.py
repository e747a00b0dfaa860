"""Channels and strides of the residuals that a backbone takes, read off its blocks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise

from diffusers import ControlNetModel, UNet2DConditionModel

from .errors import ExportError


@dataclass(frozen=True)
class Residual:
    """One feature map: (B, channels, h / stride, w / stride) for a latent of (B, 4, h, w)."""

    channels: int
    stride: int

    def as_json(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class BackboneLayout:
    """Where residuals enter a backbone.

    intrablock: one per encoder block, added at its end, before the skip is taken.
    down: one per skip connection. middle: after the middle block, or where it would be.
    multiple: what the latent's height and width must be divisible by.
    """

    intrablock: tuple[Residual, ...]
    down: tuple[Residual, ...]
    middle: Residual

    @property
    def multiple(self) -> int:
        return self.middle.stride


def backbone_layout(model: UNet2DConditionModel | ControlNetModel) -> BackboneLayout:
    """The layout of a UNet, or of the encoder that a ControlNet copies from it."""
    stride = 1
    down = [Residual(model.conv_in.out_channels, stride)]
    intrablock: list[Residual] = []
    for index, block in enumerate(model.down_blocks):
        channels = block.resnets[-1].out_channels
        down += [Residual(channels, stride)] * len(block.resnets)
        intrablock.append(Residual(channels, stride))
        if block.downsamplers:
            if not has_cross_attention(block):
                raise ExportError(
                    f"down block {index} of the {type(model).__name__} is a "
                    f"{type(block).__name__} with a downsampler: a condition adapter's features "
                    "have no place in it. Expected Stable Diffusion 1.x's layout, with "
                    "cross-attention in every encoder block but the last"
                )
            stride *= 2
            down.append(Residual(channels, stride))
    # Distilled models have no middle block, but what a ControlNet adds after it they take too.
    middle = Residual(model.down_blocks[-1].resnets[-1].out_channels, stride)
    return BackboneLayout(tuple(intrablock), tuple(down), middle)


def deep_features(unet: UNet2DConditionModel) -> tuple[Residual, ...]:
    """What enters a UNet's last decoder block, the last but one, and so on, but for the first."""
    stride = 1
    deep: list[Residual] = []
    blocks = list(unet.up_blocks)[::-1]
    for block, before in pairwise(blocks):
        stride *= 2 if block.upsamplers else 1
        deep.append(Residual(before.resnets[-1].out_channels, stride))
    return tuple(deep)


def attention_stride(unet: UNet2DConditionModel) -> int | None:
    """How much smaller than the latent the coarsest level of a UNet is that has cross-attention in
    its encoder or decoder; None: none has. The middle block doesn't count (LEDITS++)."""
    found, stride = [], 1
    for block in unet.down_blocks:
        if has_cross_attention(block):
            found.append(stride)
        stride *= 2 if block.downsamplers else 1
    for block in unet.up_blocks:
        if has_cross_attention(block):
            found.append(stride)
        stride //= 2 if block.upsamplers else 1
    return max(found, default=None)


def total_stride(model: UNet2DConditionModel) -> int:
    """How much smaller than the latent the smallest feature map of a UNet is."""
    return int(2 ** sum(bool(block.downsamplers) for block in model.down_blocks))


def has_cross_attention(block: object) -> bool:
    return bool(getattr(block, "has_cross_attention", False))
