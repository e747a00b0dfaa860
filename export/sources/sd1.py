"""Stable Diffusion 1.x's architecture: what its single-file checkpoints leave out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SUPPORTED = (
    "Stable Diffusion 1.x (1.4, 1.5 and models fine-tuned from them: 4 latent channels, a 768-wide "
    "context from CLIP ViT-L/14, noise prediction)"
)
#: Whose tokenizer Stable Diffusion 1.x was trained with.
TOKENIZER = "openai/clip-vit-large-patch14"

_CHANNELS = (320, 640, 1280, 1280)
_DOWN_BLOCKS = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)


@dataclass(frozen=True)
class Architecture:
    """Configurations of the parts of a checkpoint, as diffusers and transformers name them."""

    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text_encoder: Mapping[str, Any]
    controlnet: Mapping[str, Any]


# diffusers' `attention_head_dim` is the number of heads here, a name it keeps for old models.
SD1 = Architecture(
    unet={
        "sample_size": 64,
        "block_out_channels": _CHANNELS,
        "down_block_types": _DOWN_BLOCKS,
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "layers_per_block": 2,
        "attention_head_dim": 8,
        "cross_attention_dim": 768,
    },
    vae={
        "sample_size": 512,
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
        "scaling_factor": 0.18215,
    },
    text_encoder={
        "vocab_size": 49408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "projection_dim": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "bos_token_id": 49406,
        "eos_token_id": 49407,
        "pad_token_id": 49407,
    },
    controlnet={
        "block_out_channels": _CHANNELS,
        "down_block_types": _DOWN_BLOCKS,
        "layers_per_block": 2,
        "attention_head_dim": 8,
        "cross_attention_dim": 768,
        "conditioning_embedding_out_channels": (16, 32, 96, 256),
    },
)

SCHEDULER: Mapping[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "timestep_spacing": {"ddim": "leading", "dpmsolver++": "linspace"},
    "steps_offset": 1,
    "set_alpha_to_one": False,
}
