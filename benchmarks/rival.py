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
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from fgdm.export.adapter import TimestepAdapter, timestep_embedding
from fgdm.export.reference import make_scheduler
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

#: PyTorch's type for a precision of the engine.
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class DiffusersChain:
    """N maps with the adapter, then one ControlNet picture; or N pictures of the base alone.

    Classifier-free guidance. A bundle keeps its weights in diffusers' layout, so both sides read
    the same files. channels_last: the networks' memory format, faster for bfloat16 on CPUs.
    Noise is drawn on the CPU, so that it is the same on every device.
    """

    def __init__(
        self,
        bundle: Path,
        manifest: dict[str, Any],
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
        device: str = "cpu",
    ) -> None:
        self.manifest = manifest
        self.dtype = dtype
        self.device = torch.device(device)
        load: dict[str, Any] = {"torch_dtype": dtype}
        condition, image = manifest["factors"][0], manifest["factors"][-1]
        self.unet = UNet2DConditionModel.from_pretrained(bundle / "unet", **load)
        self.vae = AutoencoderKL.from_pretrained(bundle / "vae", **load)
        self.text_encoder = CLIPTextModel.from_pretrained(bundle / "text_encoder", dtype=dtype)
        self.tokenizer = CLIPTokenizer.from_pretrained(bundle / "tokenizer")
        self.adapter = TimestepAdapter.from_pretrained(
            bundle / condition["conditionings"][0]["graph"], **load
        )
        self.controlnet = ControlNetModel.from_pretrained(
            bundle / image["conditionings"][0]["graph"], **load
        )
        networks = (self.unet, self.vae, self.adapter, self.controlnet, self.text_encoder)
        for network in networks:
            network.requires_grad_(False)
            network.to(self.device)
            if channels_last and network is not self.text_encoder:
                network.to(memory_format=torch.channels_last)
        self.scheduler = make_scheduler(manifest["scheduler"], "ddim")
        parts: dict[str, Any] = {
            "vae": self.vae,
            "text_encoder": self.text_encoder,
            "tokenizer": self.tokenizer,
            "unet": self.unet,
            "scheduler": DDIMScheduler.from_config(self.scheduler.config),
            "safety_checker": None,
            "feature_extractor": None,
            "requires_safety_checker": False,
        }
        self.pipeline = StableDiffusionControlNetPipeline(controlnet=self.controlnet, **parts)
        self.base_pipeline = StableDiffusionPipeline(**parts)
        for pipeline in (self.pipeline, self.base_pipeline):
            pipeline.set_progress_bar_config(disable=True)

    def generate(
        self,
        prompt: str,
        seed: int,
        candidates: int,
        condition_steps: int,
        num_inference_steps: int,
    ) -> Image.Image:
        """N maps, and the picture of the first: no recall is computed, which costs next to nothing.

        The arguments are those of ``fgdm.Engine.generate``, in the bundle's sizes and scales.
        """
        condition, image = self.manifest["factors"][0], self.manifest["factors"][-1]
        cell = self.manifest["autoencoder"]["downscale"]
        rng = torch.Generator().manual_seed(seed)

        def noise(rows: int, factor: dict[str, Any]) -> Tensor:
            shape = (rows, 4, factor["height"] // cell, factor["width"] // cell)
            return torch.randn(shape, generator=rng)

        text = condition.get("prompt_prefix", "") + prompt + condition.get("prompt_suffix", "")
        maps = self.maps(
            text, noise(candidates, condition), condition_steps, condition["guidance_scale"]
        )
        return self.picture(
            prompt + image.get("prompt_suffix", ""),
            Image.fromarray(np.ascontiguousarray(maps[0])),
            noise(1, image),
            num_inference_steps,
            image["guidance_scale"],
        )

    @torch.inference_mode()
    def maps(self, prompt: str, latents: Tensor, steps: int, scale: float) -> NDArray[np.uint8]:
        """Decoded maps (N, H, W, 3) uint8 of (N, 4, h, w) initial noise."""
        count = len(latents)
        latents = latents.to(self.device, self.dtype)
        context = self.encode(["", prompt]).repeat_interleave(count, 0)
        self.scheduler.set_timesteps(steps, device=self.device)
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
        return self.decode(latents)

    def picture(
        self, prompt: str, hint: Image.Image, latents: Tensor, steps: int, scale: float
    ) -> Image.Image:
        """The painted picture of a map."""
        size = latents.shape[-2] * self.manifest["autoencoder"]["downscale"]
        return self.pipeline(  # type: ignore[no-any-return]
            prompt,
            image=hint.resize((size, size), Image.Resampling.NEAREST),
            latents=latents.to(self.device, self.dtype),
            num_inference_steps=steps,
            guidance_scale=scale,
        ).images[0]

    def base_pictures(
        self, prompt: str, latents: Tensor, steps: int, scale: float
    ) -> NDArray[np.uint8]:
        """Pictures (N, H, W, 3) of the base alone, in one batch, of (N, 4, h, w) initial noise."""
        pictures: NDArray[np.float32] = self.base_pipeline(
            prompt,
            num_images_per_prompt=len(latents),
            latents=latents.to(self.device, self.dtype),
            num_inference_steps=steps,
            guidance_scale=scale,
            output_type="np",
        ).images
        return np.asarray((255 * pictures).round(), np.uint8)

    def encode(self, texts: list[str]) -> Tensor:
        """Contexts (texts, tokens, width)."""
        ids = self.tokenizer(
            texts, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids.to(self.device)
        context: Tensor = self.text_encoder(ids).last_hidden_state
        return context

    @torch.no_grad()
    def decode(self, latents: Tensor) -> NDArray[np.uint8]:
        """Pictures (N, H, W, 3) of clean latents."""
        decoded = self.vae.decode(latents / self.vae.config.scaling_factor).sample.float()
        pixels: Tensor = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round()
        return np.asarray(pixels.permute(0, 2, 3, 1).cpu(), np.uint8)
