"""Random weights in Stable Diffusion 1.5's exact shapes, as folders that a user would export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from fgdm.export.adapter import TimestepAdapter
from fgdm.train.models import build_scheduler
from fgdm.train.tokens import train_tokenizer
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

IMAGE_SIZE = 256  # Stable Diffusion's own 512 costs five times as much and shows nothing more
MAX_LENGTH = 77

PALETTE: dict[str, Any] = {
    "name": "few",
    "classes": [
        {"name": "dog", "color": [255, 0, 0], "kind": "thing"},
        {"name": "bench", "color": [0, 0, 255], "kind": "thing", "synonyms": ["park bench"]},
        {"name": "person", "color": [0, 255, 0], "kind": "thing", "synonyms": ["man"]},
        {"name": "sky", "color": [128, 255, 255], "kind": "background"},
        {"name": "grass", "color": [128, 128, 128], "kind": "background"},
    ],
}

_CAPTIONS = ["Two dogs beside a park bench on the grass", "a man under a blue sky"]


def build_checkpoint(folder: Path) -> None:
    """Write ``base``, ``adapter``, ``controlnet``, ``controlnet_2`` and ``palette.json``.

    One model is in memory at a time; files are in float16, as most public ones are.
    """
    torch.manual_seed(5)
    base = folder / "base"
    train_tokenizer(_CAPTIONS, base / "tokenizer", MAX_LENGTH)
    build_scheduler().save_pretrained(base / "scheduler")
    (folder / "palette.json").write_text(json.dumps(PALETTE))
    _save(
        AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            sample_size=512,
        ),
        base / "vae",
    )
    # CLIP ViT-L/14's text encoder, with its vocabulary; the tokenizer uses the first few of it.
    _save(
        CLIPTextModel(
            CLIPTextConfig(
                hidden_size=768,
                intermediate_size=3072,
                projection_dim=768,
                num_hidden_layers=12,
                num_attention_heads=12,
                max_position_embeddings=MAX_LENGTH,
                vocab_size=49408,
            )
        ),
        base / "text_encoder",
    )
    _save(TimestepAdapter(), folder / "adapter")
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    # A trained model's attention has clear maxima; near ties make any two argmaxes differ.
    for name, parameter in unet.named_parameters():
        if name.endswith(("attn2.to_q.weight", "attn2.to_k.weight")):
            parameter.data *= 3.0
    _save(unet, base / "unet")
    for name in ("controlnet", "controlnet_2"):
        _save(ControlNetModel.from_unet(unet), folder / name)


def _save(model: nn.Module, folder: Path) -> None:
    """Zero-initialised layers get small random weights, so that no path is silent."""
    for parameter in model.parameters():
        if not parameter.any():
            parameter.data = 0.02 * torch.randn_like(parameter)
    model.half().save_pretrained(folder)  # type: ignore[operator]
    model.float()
