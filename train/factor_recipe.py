"""Trains factors over the frozen base of a run or a bundle; what is finished is read back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from fgdm.export.adapter import TimestepAdapter
from torch import Tensor
from transformers import CLIPTextModel

from .autoencoder import encode
from .classes import INDEX
from .curves import draw_curves
from .dataset import SceneSet, scene_set
from .decoder import train_decoder
from .diffusion import CaptionTokens, NoisingProcess
from .factor import FactorData, train_factor
from .loop import LoopOptions
from .models import build_adapter, build_scheduler
from .painter import area_weights
from .presets import Preset
from .recipe import SMALL_SEED
from .render import colorize
from .tokens import load_tokenizer
from .truth import MapKind, map_picture
from .world import sample_scene

_CHUNK = 500


class FactorRecipe:
    """Factors of one run in one folder: ``adapter_depth`` and so on, and ``vae``, the autoencoder
    with a decoder that has learnt their pictures.

    `start` is a run's folder or a bundle: its autoencoder, base and tokenizer are used and stay as
    they are. `work` holds what only training needs.
    """

    def __init__(
        self,
        preset: Preset,
        folder: Path,
        start: Path,
        device: torch.device,
        workers: int,
        seed: int = 0,
    ) -> None:
        self.preset, self.folder, self.start = preset, folder, start
        self.device, self.workers = device, workers
        self.work = folder / "work"
        self.work.mkdir(parents=True, exist_ok=True)
        self.options = LoopOptions(device, seed)

    def load(self, kind: type[Any], name: str) -> Any:
        """A model of `start`, frozen, in float32."""
        model = kind.from_pretrained(self.start / name, torch_dtype=torch.float32)
        return model.to(self.device).eval().requires_grad_(False)

    def decoder(self) -> AutoencoderKL:
        """The autoencoder with the decoder that has learnt every kind of map."""
        folder = self.folder / "vae"
        if folder.exists():
            return AutoencoderKL.from_pretrained(folder).to(self.device).eval()
        torch.manual_seed(7)
        vae: AutoencoderKL = self.load(AutoencoderKL, "vae")
        train_decoder(vae, self.preset, self.work, self.options)
        self._save(vae, folder)
        return vae

    def factor(self, kind: MapKind) -> TimestepAdapter:
        """The adapter of a factor."""
        folder = self.folder / f"adapter_{kind}"
        if folder.exists():
            trained: TimestepAdapter = TimestepAdapter.from_pretrained(folder).to(self.device)
            return trained
        scenes = self._scenes()
        with_person = (scenes.labels == INDEX["person"]) if kind == "pose" else None
        data = FactorData(
            self._latents(kind, scenes),
            self._latents("segmentation", scenes),
            scenes.captions,
            None
            if with_person is None
            else area_weights(with_person.astype(np.uint8), self.preset.latent_size),
            None if with_person is None else np.flatnonzero(with_person.any((1, 2))),
        )
        torch.manual_seed(8)
        adapter: TimestepAdapter = build_adapter(self.preset).to(self.device)
        train_factor(
            kind,
            adapter,
            self.load(UNet2DConditionModel, "unet"),
            self.load(CLIPTextModel, "text_encoder"),
            CaptionTokens(load_tokenizer(self.start / "tokenizer"), self.device),
            NoisingProcess(build_scheduler(), self.device),
            data,
            self.preset.factor,
            self.work,
            self.options,
        )
        self._save(adapter, folder)
        return adapter

    def _scenes(self) -> SceneSet:
        size = self.preset.map_size
        count = self.preset.scenes
        return scene_set(self.work / "data", SMALL_SEED, count, size, size, self.workers)

    def _latents(self, kind: MapKind | str, scenes: SceneSet) -> Tensor:
        """Latents of the maps of a kind, or of the segmentation, made the first time."""
        path = self.work / f"latents-{kind}.npy"
        if not path.exists():
            print(f"making latents-{kind}", flush=True)
            vae: AutoencoderKL = self.load(AutoencoderKL, "vae")
            chunks = []
            for first in range(0, len(scenes), _CHUNK):
                numbers = range(first, min(first + _CHUNK, len(scenes)))
                pictures = (
                    colorize(scenes.labels[numbers.start : numbers.stop])
                    if kind == "segmentation"
                    else np.stack([self._picture(kind, number) for number in numbers])
                )
                chunks.append(encode(vae, pictures, self.device).numpy())
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file:
                np.save(file, np.concatenate(chunks))
            partial.replace(path)
        return torch.from_numpy(np.load(path))

    def _picture(self, kind: Any, number: int) -> np.ndarray:
        return map_picture(kind, sample_scene(SMALL_SEED + number), self.preset.map_size)

    def _save(self, model: Any, folder: Path) -> None:
        """Write a model's folder under another name first: a folder that exists is complete."""
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        model.save_pretrained(partial)
        partial.replace(folder)
        draw_curves(self.work, self.folder / "curves.png")
