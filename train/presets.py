"""Sizes and budgets of the recipe: one preset per machine it is meant for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class StageBudget:
    """Optimiser settings of a training stage: ``steps`` of ``batch`` samples."""

    steps: int
    batch: int
    learning_rate: float
    warmup: int = 200

    @property
    def large_batch(self) -> int:
        """Of large pictures a step takes a quarter as many, which cost as much."""
        return max(1, self.batch // 4)


@dataclass(frozen=True)
class Preset:
    """Everything that differs between a laptop run and a GPU run.

    image_size, map_size: pixels; the map has a quarter of the image's area.
    attention_heads: per scale; heads of 64 channels train fastest.
    vae_channels: one entry per resolution, so the latent is 2^(n-1) times smaller than the picture.
    large_from: the fraction of the base's steps after which some are about large pictures;
    large_share: how many of those are.
    distill_weight: λ of eq. 8; distill_every: steps between distilled batches.
    """

    name: str
    image_size: int = 128
    map_size: int = 64
    scenes: int = 24_000
    large_scenes: int = 6_000
    vae_channels: tuple[int, ...] = (32, 64, 64)
    unet_channels: tuple[int, ...] = (64, 128, 256)
    unet_layers: int = 1
    attention_heads: tuple[int, ...] = (1, 2, 4)
    norm_groups: int = 16
    text_width: int = 128
    text_layers: int = 3
    max_tokens: int = 48
    large_from: float = 0.4
    large_share: float = 0.25
    distill_weight: float = 0.1
    distill_every: int = 4
    autoencoder: StageBudget = field(default=StageBudget(2500, 24, 2e-3, 50))
    base: StageBudget = field(default=StageBudget(4000, 64, 1e-3))
    adapter: StageBudget = field(default=StageBudget(400, 64, 1.2e-3, 50))
    controlnet: StageBudget = field(default=StageBudget(700, 64, 1e-3, 40))
    segmenter: StageBudget = field(default=StageBudget(1500, 16, 3e-3, 50))
    decoder: StageBudget = field(default=StageBudget(1200, 16, 1e-3, 20))
    factor: StageBudget = field(default=StageBudget(280, 64, 1.2e-3, 50))
    pose: StageBudget = field(default=StageBudget(900, 64, 1.2e-3, 50))  # persons are rare and thin
    guided: StageBudget = field(default=StageBudget(600, 64, 6e-4, 20))
    joint: StageBudget = field(default=StageBudget(400, 16, 2e-4, 20))
    pair_scenes: int = 12_000  # of the dual encoder
    eye: StageBudget = field(default=StageBudget(450, 48, 3e-3, 30))
    towers: StageBudget = field(default=StageBudget(800, 128, 2e-3, 50))

    @property
    def latent_scale(self) -> int:
        """Pixels per latent cell along one axis."""
        return int(2 ** (len(self.vae_channels) - 1))

    @property
    def latent_size(self) -> int:
        """Latent cells along one axis of a map."""
        return self.map_size // self.latent_scale


#: Two cores with bfloat16 matrix units and nothing else to do: three hours.
CPU = Preset(name="cpu")

#: A leg to go on with (``--start``): mostly large pictures, which the `cpu` preset sees too few of.
#: The autoencoder stays as it is.
LARGE = replace(
    CPU,
    name="cpu-large",
    large_scenes=12_000,
    large_from=0.0,
    large_share=0.75,
    autoencoder=StageBudget(0, 24, 2e-3, 50),
    base=StageBudget(1500, 64, 4e-4, 100),
)

GPU = Preset(
    name="gpu",
    image_size=256,
    map_size=128,
    scenes=120_000,
    large_scenes=40_000,
    vae_channels=(48, 96, 128, 128),
    unet_channels=(96, 192, 288),
    unet_layers=2,
    attention_heads=(3, 6, 9),
    text_width=192,
    autoencoder=StageBudget(6000, 64, 1e-3),
    base=StageBudget(9000, 256, 8e-4),
    adapter=StageBudget(6000, 256, 8e-4),
    controlnet=StageBudget(4000, 256, 4e-4),
    segmenter=StageBudget(2000, 64, 2e-3),
    decoder=StageBudget(3000, 64, 5e-4),
    factor=StageBudget(6000, 256, 8e-4),
    pose=StageBudget(12000, 256, 8e-4),
    guided=StageBudget(3000, 256, 4e-4),
    joint=StageBudget(2000, 64, 1e-4),
    pair_scenes=60_000,
    eye=StageBudget(6000, 128, 2e-3),
    towers=StageBudget(10_000, 512, 1e-3),
)

#: A few steps of everything, for tests: seconds, and pictures of mud.
SMOKE = replace(
    CPU,
    name="smoke",
    scenes=64,
    large_scenes=32,
    vae_channels=(16, 16, 16),
    unet_channels=(32, 32, 64),
    attention_heads=(1, 1, 2),
    text_width=32,
    text_layers=1,
    autoencoder=StageBudget(2, 4, 1e-3, 1),
    base=StageBudget(2, 4, 1e-3, 1),
    adapter=StageBudget(2, 4, 1e-3, 1),
    controlnet=StageBudget(2, 4, 1e-3, 1),
    segmenter=StageBudget(2, 4, 1e-3, 1),
    decoder=StageBudget(2, 4, 1e-3, 1),
    factor=StageBudget(2, 4, 1e-3, 1),
    pose=StageBudget(2, 4, 1e-3, 1),
    guided=StageBudget(2, 4, 1e-3, 1),
    joint=StageBudget(2, 2, 1e-3, 1),
    pair_scenes=24,
    eye=StageBudget(2, 4, 1e-3, 1),
    towers=StageBudget(2, 4, 1e-3, 1),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in (CPU, LARGE, GPU, SMOKE)}
