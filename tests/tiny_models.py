"""A tiny random checkpoint in Stable Diffusion 1.x's layout, and the bundle made of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from fgdm.export.adapter import TimestepAdapter
from fgdm.export.bundle import export_bundle
from fgdm.export.signature import Precision
from fgdm.train.models import build_scheduler
from fgdm.train.tokens import train_tokenizer
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

CHANNELS = (32, 64, 64)
TEXT_WIDTH = 32
MAX_LENGTH = 32
IMAGE_SIZE = 64
GROUPS = 8

PALETTE: dict[str, Any] = {
    "name": "tiny",
    "classes": [
        {
            "name": "person",
            "color": [255, 0, 0],
            "kind": "thing",
            "synonyms": ["man", "woman", "child"],
        },
        {"name": "dog", "color": [128, 0, 0], "kind": "thing", "synonyms": ["puppy"]},
        {"name": "bench", "color": [255, 0, 128], "kind": "thing", "synonyms": ["park bench"]},
        {"name": "ball", "color": [0, 0, 255], "kind": "thing", "synonyms": ["beach ball"]},
        {"name": "sky", "color": [128, 255, 255], "kind": "background"},
        {"name": "grass", "color": [0, 128, 0], "kind": "background", "synonyms": ["meadow"]},
    ],
}

#: Of the bundle, in no particular order.
GRAPHS = (
    "text_encoder",
    "backbone",
    "backbone_shallow_1",
    "backbone_shallow_2",
    "adapter_segmentation",
    "controlnet_segmentation_hint",
    "controlnet_segmentation",
    "vae_decoder",
    "vae_encoder",
)

_CAPTIONS = [
    "a dog and a ball on the grass",
    "two dogs beside a park bench under a blue sky",
    "a man, a woman and a child with a beach ball",
    "three people on a bench; it isn't a small meadow",
    "1 puppy, 2 puppies: best quality, extremely detailed",
]


@dataclass(frozen=True)
class TinyCheckpoint:
    """Folders as a user would hand them to ``fgdm export``."""

    base: Path
    adapter: Path
    controlnet: Path
    palette: Path

    @classmethod
    def below(cls, folder: Path) -> TinyCheckpoint:
        """What `build_checkpoint` writes below `folder`."""
        parts = ("base", "adapter", "controlnet", "palette.json")
        return cls(*(folder / part for part in parts))


def build_checkpoint(folder: Path) -> TinyCheckpoint:
    """Write the models of a seeded random checkpoint below `folder`. Nothing in it is zero."""
    torch.manual_seed(11)
    files = TinyCheckpoint.below(folder)
    base = files.base
    tokenizer = train_tokenizer(_CAPTIONS, base / "tokenizer", MAX_LENGTH)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=MAX_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
            initializer_factor=4.0,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=IMAGE_SIZE // 4,
        block_out_channels=CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=GROUPS,
    )
    vae = AutoencoderKL(
        block_out_channels=(16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=GROUPS,
        sample_size=IMAGE_SIZE,
        scaling_factor=0.7,
    )
    controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 16))
    adapter = TimestepAdapter(
        channels=CHANNELS, time_embed_dim=4 * CHANNELS[0], norm_num_groups=GROUPS
    )
    for model in (unet, vae, controlnet, adapter):
        _fill(model)
    # A trained model's attention has clear maxima; a random one's is flat, and near ties make the
    # argmax of any two implementations differ.
    _sharpen(unet, 3.0)
    scheduler = build_scheduler()
    unet.save_pretrained(base / "unet")
    vae.save_pretrained(base / "vae")
    text_encoder.save_pretrained(base / "text_encoder")
    scheduler.save_pretrained(base / "scheduler")
    adapter.save_pretrained(files.adapter)
    controlnet.save_pretrained(files.controlnet)
    files.palette.write_text(json.dumps(PALETTE))
    return files


def build_adapter(folder: Path, latents: int = 1, seed: int = 5) -> Path:
    """Write a random adapter that sees so many latents; returns its folder."""
    torch.manual_seed(seed)
    adapter = TimestepAdapter(
        in_channels=4 * latents,
        channels=CHANNELS,
        time_embed_dim=4 * CHANNELS[0],
        norm_num_groups=GROUPS,
    )
    _fill(adapter)
    adapter.save_pretrained(folder)
    return folder


def build_backbone(folder: Path, latents: int, seed: int = 21) -> Path:
    """Write a random UNet that sees so many latents, as one trained from scratch may be: its blocks
    are others than the base's, and the first has no cross-attention. Returns its folder."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=IMAGE_SIZE // 4,
        in_channels=4 * latents,
        out_channels=4,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=GROUPS,
    )
    _write_unet(unet, folder)
    return folder


def build_deep_base(folder: Path, checkpoint: TinyCheckpoint) -> Path:
    """Write the checkpoint's base with a random UNet of Stable Diffusion's four levels, of which
    the deepest has no cross-attention but the middle block's. Returns its folder."""
    shutil.copytree(checkpoint.base, folder, dirs_exist_ok=True)
    torch.manual_seed(31)
    unet = UNet2DConditionModel(
        sample_size=IMAGE_SIZE // 4,
        block_out_channels=(16, 16, 32, 32),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=GROUPS,
    )
    _write_unet(unet, folder / "unet")
    return folder


def build_bundle(folder: Path, checkpoint: TinyCheckpoint, precision: Precision = "fp32") -> Path:
    """Export the checkpoint as a bundle with default factors; returns its folder."""
    return export_bundle(
        checkpoint.base,
        {"segmentation": checkpoint.adapter},
        checkpoint.controlnet,
        checkpoint.palette,
        folder,
        name="tiny",
        precision=precision,
    )


def _write_unet(unet: UNet2DConditionModel, folder: Path) -> None:
    _fill(unet)
    _sharpen(unet, 3.0)
    unet.save_pretrained(folder)


def _fill(model: nn.Module) -> None:
    """Random numbers where constructors put zeros and ones, so that no path is silent."""
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
        elif not parameter.any():
            parameter.data = 0.1 * torch.randn_like(parameter)


def _sharpen(unet: nn.Module, factor: float) -> None:
    for name, parameter in unet.named_parameters():
        if name.endswith(("attn2.to_q.weight", "attn2.to_k.weight")):
            parameter.data *= factor
