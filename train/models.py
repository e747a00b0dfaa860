"""Builds the untrained models of a preset, all of them diffusers or transformers classes."""

from __future__ import annotations

from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from fgdm.export.adapter import TimestepAdapter
from transformers import CLIPTextConfig, CLIPTextModel

from .presets import Preset


def build_autoencoder(preset: Preset) -> AutoencoderKL:
    depth = len(preset.vae_channels)
    return AutoencoderKL(
        block_out_channels=preset.vae_channels,
        down_block_types=("DownEncoderBlock2D",) * depth,
        up_block_types=("UpDecoderBlock2D",) * depth,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=preset.image_size,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


def build_text_encoder(preset: Preset, vocab_size: int, bos: int, eos: int) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=vocab_size,
        hidden_size=preset.text_width,
        intermediate_size=4 * preset.text_width,
        projection_dim=preset.text_width,
        num_hidden_layers=preset.text_layers,
        num_attention_heads=max(1, preset.text_width // 32),
        max_position_embeddings=preset.max_tokens,
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=eos,
    )
    return CLIPTextModel(config)


def build_unet(preset: Preset) -> UNet2DConditionModel:
    """SD 1.x's layout: cross-attention at every scale but the last, and in the middle."""
    depth = len(preset.unet_channels)
    unet = UNet2DConditionModel(
        sample_size=preset.latent_size,
        block_out_channels=preset.unet_channels,
        down_block_types=("CrossAttnDownBlock2D",) * (depth - 1) + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (depth - 1),
        layers_per_block=preset.unet_layers,
        cross_attention_dim=preset.text_width,
        attention_head_dim=preset.attention_heads,  # diffusers' name for the number of heads
        norm_num_groups=preset.norm_groups,
    )
    unet.set_attn_processor(AttnProcessor())
    return unet


def build_adapter(preset: Preset) -> TimestepAdapter:
    adapter: TimestepAdapter = TimestepAdapter(
        channels=preset.unet_channels,
        time_embed_dim=4 * preset.unet_channels[0],
        norm_num_groups=preset.norm_groups,
    )
    return adapter


def build_controlnet(preset: Preset, unet: UNet2DConditionModel) -> ControlNetModel:
    hint_channels = (16, 32, 64, 96)[: len(preset.vae_channels)]
    controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=hint_channels)
    controlnet.set_attn_processor(AttnProcessor())
    return controlnet


def build_scheduler() -> DDIMScheduler:
    """The noise schedule of Stable Diffusion 1.x."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
