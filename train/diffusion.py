"""What every diffusion stage shares: the forward process, captions as tokens, the weighted loss."""

from __future__ import annotations

import functools

import numpy as np
import torch
from diffusers import DDIMScheduler
from torch import Tensor
from transformers import CLIPTokenizer

#: Losses of nearly clean latents are down-weighted to at most this signal-to-noise ratio
#: (Hang et al. 2023, min-SNR-γ).
SNR_GAMMA = 5.0


class NoisingProcess:
    """q(z_t | z_0) of a noise schedule (FG-DM, eq. 1)."""

    def __init__(self, scheduler: DDIMScheduler, device: torch.device) -> None:
        self.alphas = scheduler.alphas_cumprod.to(device)

    def draw(self, clean: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """(noisy latents, noise, timesteps) for (B, 4, h, w) clean latents."""
        count = len(clean)
        # stratified: one timestep from each of `count` equal slices, which steadies the loss
        slices = (np.arange(count) + rng.random(count)) / count
        order = rng.permutation(count)
        timesteps = torch.from_numpy((slices * len(self.alphas)).astype(np.int64)[order])
        timesteps = timesteps.to(clean.device)
        return *self.noised(clean, timesteps, rng), timesteps

    def noised(
        self, clean: Tensor, timesteps: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """(noisy latents, noise) for (B, 4, h, w) clean latents at (B,) timesteps."""
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
        noise = noise.to(clean.device)
        alpha = self.alphas[timesteps][:, None, None, None]
        return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise, noise

    def clean(self, noisy: Tensor, predicted: Tensor, timesteps: Tensor) -> Tensor:
        """The clean latents (B, 4, h, w) that follow from predicted noise."""
        alpha = self.alphas[timesteps][:, None, None, None]
        clean: Tensor = (noisy - (1 - alpha).sqrt() * predicted.float()) / alpha.sqrt()
        return clean

    def loss(
        self, predicted: Tensor, noise: Tensor, timesteps: Tensor, areas: Tensor | None = None
    ) -> Tensor:
        """ε-prediction error, min-SNR weighted: a scalar.

        areas: (B, h, w) how much each latent cell counts; all the same, if it isn't given.
        """
        alpha = self.alphas[timesteps]
        snr = alpha / (1 - alpha)
        weight = torch.clamp(snr, max=SNR_GAMMA) / snr
        error = (predicted.float() - noise).pow(2)
        if areas is not None:
            error = error * areas[:, None]
        loss: Tensor = (weight * error.mean((1, 2, 3))).mean()
        return loss


class CaptionTokens:
    """Token ids of captions, remembered per text: (max_length,) int64 each."""

    def __init__(self, tokenizer: CLIPTokenizer, device: torch.device) -> None:
        self.device = device
        self._encode = functools.cache(
            lambda text: tokenizer(text, padding="max_length", truncation=True).input_ids
        )

    def __call__(self, texts: list[str]) -> Tensor:
        return torch.tensor([self._encode(text) for text in texts], device=self.device)

    def with_null(self, texts: list[str], rng: np.random.Generator, share: float) -> Tensor:
        """Token ids with a `share` of the captions emptied, for classifier-free guidance."""
        kept = ["" if rng.random() < share else text for text in texts]
        return self(kept)


def pick_captions(
    captions: list[list[str]], indices: np.ndarray, rng: np.random.Generator
) -> list[str]:
    """One wording of each chosen scene."""
    return [captions[i][int(rng.integers(len(captions[i])))] for i in indices]
