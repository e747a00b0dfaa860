"""The adapters of a condition factor (FG-DM, section 3.3), with and without the timestep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn


class TimestepResBlock(nn.Module):
    """Residual block that adds a projection of the timestep embedding between its convolutions.

    `down` halves the resolution first (average pooling); a change of channels goes through a
    convolution on the skip, of the size `skip_kernel_size`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embed_dim: int,
        groups: int,
        down: bool,
        skip_kernel_size: int,
    ) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2) if down else nn.Identity()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(groups, in_channels),
            nn.SiLU(),
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embed_dim, out_channels))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(groups, out_channels),
            nn.SiLU(),
            nn.Dropout(0.0),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        self.skip_connection = (
            nn.Identity()
            if in_channels == out_channels
            else nn.Conv2d(
                in_channels, out_channels, skip_kernel_size, padding=skip_kernel_size // 2
            )
        )
        nn.init.zeros_(cast(nn.Conv2d, self.out_layers[-1]).weight)
        nn.init.zeros_(cast(Tensor, cast(nn.Conv2d, self.out_layers[-1]).bias))

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        # Pooling sits between the activation and the convolution, as in Stable Diffusion's blocks.
        hidden = self.in_layers[2](self.pool(self.in_layers[1](self.in_layers[0](x))))
        hidden = hidden + self.emb_layers(emb)[:, :, None, None]
        return cast(Tensor, self.skip_connection(self.pool(x)) + self.out_layers(hidden))


class TimestepAdapter(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Features of a noisy latent, one map per scale of the backbone's encoder.

    The features are added at the end of the backbone's encoder blocks (diffusers:
    ``down_intrablock_additional_residuals``). Layout and key names follow the published FG-DM
    checkpoints: ``conv_in`` and a flat ``body`` with `num_res_blocks` blocks per scale.

    Args:
        in_channels: channels of the latent (4 for Stable Diffusion 1.x).
        channels: channels per scale, those of the backbone's encoder blocks.
        num_res_blocks: residual blocks per scale.
        time_embed_dim: width of the backbone's timestep embedding.
        norm_num_groups: groups of the group normalisations.
        skip_kernel_size: of the convolutions on skips that change channels; 1 in the published
            checkpoints.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        in_channels: int = 4,
        channels: tuple[int, ...] = (320, 640, 1280, 1280),
        num_res_blocks: int = 2,
        time_embed_dim: int = 1280,
        norm_num_groups: int = 32,
        skip_kernel_size: int = 3,
    ) -> None:
        super().__init__()
        self.num_res_blocks = num_res_blocks
        self.conv_in = nn.Conv2d(in_channels, channels[0], 3, padding=1)
        self.body = nn.ModuleList(
            TimestepResBlock(before, after, time_embed_dim, norm_num_groups, down, skip_kernel_size)
            for before, after, down in _blocks(channels, num_res_blocks)
        )

    def forward(self, sample: Tensor, emb: Tensor) -> list[Tensor]:
        """sample: (B, in_channels, h, w); emb: (B, time_embed_dim), the backbone's own embedding.

        Returns one (B, channels[i], h / 2^i, w / 2^i) feature map per scale.
        """
        return _features(self, sample, emb)


class PlainResBlock(nn.Module):
    """T2I-Adapter's residual block: 3×3 convolution, ReLU, 1×1 convolution.

    `down` halves the resolution first (average pooling); a 1×1 convolution changes the channels.
    """

    def __init__(self, in_channels: int, out_channels: int, down: bool) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2) if down else nn.Identity()
        self.in_conv = (
            nn.Identity()
            if in_channels == out_channels
            else nn.Conv2d(in_channels, out_channels, 1)
        )
        self.block1 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.block2 = nn.Conv2d(out_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.in_conv(self.pool(x))
        return cast(Tensor, self.block2(self.block1(hidden).relu()) + hidden)


class PlainAdapter(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """T2I-Adapter's network on a noisy latent, the other kind of published FG-DM checkpoint.

    Layout and key names are those of the checkpoints; the timestep plays no part.

    Args:
        in_channels: channels of the latent (4 for Stable Diffusion 1.x).
        channels: channels per scale, those of the backbone's encoder blocks.
        num_res_blocks: residual blocks per scale.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        in_channels: int = 4,
        channels: tuple[int, ...] = (320, 640, 1280, 1280),
        num_res_blocks: int = 2,
    ) -> None:
        super().__init__()
        self.num_res_blocks = num_res_blocks
        self.conv_in = nn.Conv2d(in_channels, channels[0], 3, padding=1)
        self.body = nn.ModuleList(
            PlainResBlock(before, after, down)
            for before, after, down in _blocks(channels, num_res_blocks)
        )

    def forward(self, sample: Tensor, emb: Tensor) -> list[Tensor]:
        """As `TimestepAdapter.forward`; `emb` is ignored."""
        return _features(self, sample)


def _blocks(channels: Sequence[int], num_res_blocks: int) -> Iterator[tuple[int, int, bool]]:
    """Input channels, output channels and `down` of every block, scale by scale."""
    for scale, width in enumerate(channels):
        for block in range(num_res_blocks):
            first = scale > 0 and block == 0
            yield channels[scale - 1] if first else width, width, first


def _features(adapter: ConditionAdapter, sample: Tensor, *given: Tensor) -> list[Tensor]:
    """The output of each scale's last block; every block is also `given` the same tensors."""
    features: list[Tensor] = []
    hidden: Tensor = adapter.conv_in(sample)
    for index, block in enumerate(adapter.body):
        hidden = block(hidden, *given)
        if (index + 1) % adapter.num_res_blocks == 0:
            features.append(hidden)
    return features


#: What a condition factor's maps can be sampled with.
ConditionAdapter = TimestepAdapter | PlainAdapter


def timestep_embedding(unet: nn.Module, timestep: Tensor, dtype: torch.dtype) -> Tensor:
    """The backbone's own embedding of (B,) timesteps: (B, time_embed_dim)."""
    projected = cast(Tensor, unet.time_proj(timestep)).to(dtype)  # type: ignore[operator]
    return cast(Tensor, unet.time_embedding(projected))  # type: ignore[operator]
