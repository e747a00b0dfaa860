"""The rival: the same chain in PyTorch, of diffusers' own classes, on a bundle's own weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    StableDiffusionControlNetPipeline,
    UNet2DConditionModel,
)
from fgdm.export.adapter import TimestepAdapter, timestep_embedding
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer


class DiffusersChain:
    """N maps with the adapter, then one ControlNet picture, classifier-free guidance, float32.

    A bundle keeps its weights in diffusers' layout, so both sides read the same files.
    """

    def __init__(self, bundle: Path, manifest: dict[str, Any]) -> None:
        self.manifest = manifest
        load: dict[str, Any] = {"torch_dtype": torch.float32}
        self.unet = UNet2DConditionModel.from_pretrained(bundle / "unet", **load)
        self.vae = AutoencoderKL.from_pretrained(bundle / "vae", **load)
        self.text_encoder = CLIPTextModel.from_pretrained(bundle / "text_encoder").float()
        self.tokenizer = CLIPTokenizer.from_pretrained(bundle / "tokenizer")
        self.adapter = TimestepAdapter.from_pretrained(bundle / "adapter_segmentation", **load)
        self.controlnet = ControlNetModel.from_pretrained(
            bundle / "controlnet_segmentation", **load
        )
        self.scheduler = DDIMScheduler(
            **manifest["scheduler"], clip_sample=False, set_alpha_to_one=False
        )
        self.pipeline = StableDiffusionControlNetPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
            controlnet=self.controlnet,
            scheduler=DDIMScheduler.from_config(self.scheduler.config),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        self.pipeline.set_progress_bar_config(disable=True)

    @torch.inference_mode()
    def maps(self, prompt: str, latents: Tensor, steps: int, scale: float) -> NDArray[np.uint8]:
        """Decoded maps (N, H, W, 3) uint8 of (N, 4, h, w) initial noise."""
        count = len(latents)
        context = self._encode(["", prompt]).repeat_interleave(count, 0)
        self.scheduler.set_timesteps(steps)
        for timestep in self.scheduler.timesteps:
            rows = torch.cat([latents, latents])
            times = timestep.expand(len(rows))
            features = self.adapter(rows, timestep_embedding(self.unet, times, rows.dtype))
            noise = self.unet(
                rows, times, context, down_intrablock_additional_residuals=features
            ).sample
            negative, positive = noise.chunk(2)
            guided = negative + scale * (positive - negative)
            latents = self.scheduler.step(guided, timestep, latents).prev_sample
        decoded = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        pixels = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).numpy()

    def picture(
        self, prompt: str, hint: Image.Image, latents: Tensor, steps: int, scale: float
    ) -> Image.Image:
        """The painted picture of a map."""
        size = latents.shape[-2] * self.manifest["autoencoder"]["downscale"]
        return self.pipeline(  # type: ignore[no-any-return]
            prompt,
            image=hint.resize((size, size), Image.Resampling.NEAREST),
            latents=latents,
            num_inference_steps=steps,
            guidance_scale=scale,
        ).images[0]

    def _encode(self, texts: list[str]) -> Tensor:
        ids = self.tokenizer(
            texts, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        context: Tensor = self.text_encoder(ids).last_hidden_state
        return context
