"""Backbones of a factor's own: a UNet that sees one latent or several, side by side."""

from __future__ import annotations

from diffusers import UNet2DConditionModel

from .assemble import empty, fill
from .families import check_unet
from .folders import load_weights, read_config
from .places import LONE_MODEL, Source, locate


def load_backbone(source: Source) -> UNet2DConditionModel:
    """Read a UNet2DConditionModel: a diffusers folder, or a Hugging Face id.

    Raises:
        ExportError: it is missing, unreadable or of another family, or its tensors aren't those
            that its configuration asks for.
    """
    folder = locate(source, "the backbone", LONE_MODEL)
    config = read_config(folder, UNet2DConditionModel.__name__)
    # Families go by their input channels too; here these only say how many latents it sees.
    check_unet({**config, "in_channels": config.get("out_channels", 4)}, str(folder))
    model = empty(lambda: UNet2DConditionModel.from_config(config), str(folder / "config.json"))
    return fill(model, load_weights(folder), str(folder))
