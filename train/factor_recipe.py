"""Trains factors over the frozen base of a run or a bundle; what is finished is read back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from fgdm.export.adapter import TimestepAdapter
from torch import Tensor
from transformers import CLIPTextModel

from .autoencoder import encode_once
from .classes import INDEX
from .curves import draw_curves
from .dataset import SceneSet, made_once, scene_set
from .decoder import train_decoder
from .diffusion import CaptionTokens, NoisingProcess
from .factor import FactorData, train_factor
from .guided import train_guided
from .joint import JointData, JointModels, train_joint
from .loop import LoopOptions
from .models import build_adapter, build_scheduler
from .painter import Pictures, area_weights, hint_maps, train_controlnet
from .presets import Preset
from .recipe import LARGE_SEED, SMALL_SEED
from .render import colorize
from .tokens import load_tokenizer
from .truth import FactorName, map_picture
from .world import sample_scene


class FactorRecipe:
    """Factors of one run in one folder: ``adapter_depth`` and so on, ``vae``, the autoencoder
    with a decoder that has learnt their pictures, ``controlnet``, the image factor gone on with
    alone, or it and ``adapter``, the factors of `start` fine-tuned together.

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

    def factor(
        self,
        kind: FactorName,
        sees: FactorName = "segmentation",
        go_on: bool = False,
    ) -> TimestepAdapter:
        """The adapter of a factor that sees the map of another one, or its own noisy latent.

        go_on: begin with that of `start`, not with random weights.
        """
        name = kind if sees == "segmentation" else f"{kind}_{sees}"
        folder = self.folder / f"adapter_{name}"
        if folder.exists():
            trained: TimestepAdapter = TimestepAdapter.from_pretrained(folder).to(self.device)
            return trained
        scenes = self._scenes(SMALL_SEED, self.preset.scenes, self.preset.map_size)
        with_person = (scenes.labels == INDEX["person"]) if kind == "pose" else None
        data = FactorData(
            self._map_latents(kind, scenes),
            None if sees == kind else self._map_latents(sees, scenes),
            scenes.captions,
            None
            if with_person is None
            else area_weights(with_person.astype(np.uint8), self.preset.latent_size),
            None if with_person is None else np.flatnonzero(with_person.any((1, 2))),
        )
        adapter: TimestepAdapter
        if go_on:
            adapter = self._load_adapter(name)
        else:
            torch.manual_seed(8)
            adapter = build_adapter(self.preset).to(self.device)
        train_factor(
            name,
            kind,
            adapter,
            *self._base(),
            data,
            self.preset.pose if kind == "pose" else self.preset.factor,
            self.work,
            self.options,
        )
        self._save(adapter, folder)
        return adapter

    def guided(self, kind: FactorName, scale: float) -> TimestepAdapter:
        """The adapter of `start`, taught to need no guidance: one row gives what two did."""
        folder = self.folder / f"adapter_{kind}"
        if folder.exists():
            trained: TimestepAdapter = TimestepAdapter.from_pretrained(folder).to(self.device)
            return trained
        scenes = self._scenes(SMALL_SEED, self.preset.scenes, self.preset.map_size)
        adapter = self._load_adapter(kind)
        own = kind == "segmentation"
        train_guided(
            f"guided-{kind}",
            kind,
            adapter,
            *self._base(),
            FactorData(
                self._map_latents(kind, scenes),
                None if own else self._map_latents("segmentation", scenes),
                scenes.captions,
            ),
            scale,
            self.preset.guided,
            self.work,
            self.options,
        )
        self._save(adapter, folder)
        return adapter

    def controlnet(self) -> ControlNetModel:
        """The ControlNet of `start`, gone on with on large pictures over the base as it is."""
        folder = self.folder / "controlnet"
        if folder.exists():
            return ControlNetModel.from_pretrained(folder).to(self.device).eval()
        scenes = self._scenes(LARGE_SEED, self.preset.large_scenes, self.preset.image_size)
        vae: AutoencoderKL = self.load(AutoencoderKL, "vae")
        hints = made_once(
            self.work / "hints-large.npy", lambda: hint_maps(vae, scenes.labels, self.device)
        )
        controlnet: ControlNetModel = self._load_factor(ControlNetModel, "controlnet")
        train_controlnet(
            controlnet.requires_grad_(True),
            *self._base(),
            None,
            Pictures(self._pictures(scenes), hints, scenes.labels, scenes.captions),
            self.preset,
            self.work,
            self.options,
        )
        self._save(controlnet, folder)
        return controlnet

    def joint(self) -> tuple[TimestepAdapter, ControlNetModel]:
        """The segmentation's adapter and the ControlNet of `start`, fine-tuned together."""
        names = {"adapter": TimestepAdapter, "controlnet": ControlNetModel}
        if all((self.folder / name).exists() for name in names):
            adapter, controlnet = (
                kind.from_pretrained(self.folder / name).to(self.device).eval()
                for name, kind in names.items()
            )
            return adapter, controlnet
        adapter, controlnet = (self._load_factor(kind, name) for name, kind in names.items())
        scenes = self._scenes(LARGE_SEED, self.preset.large_scenes, self.preset.image_size)
        train_joint(
            JointModels(
                adapter,
                controlnet,
                self.load(UNet2DConditionModel, "unet"),
                self.load(CLIPTextModel, "text_encoder"),
                self.load(AutoencoderKL, "vae"),
            ),
            CaptionTokens(load_tokenizer(self.start / "tokenizer"), self.device),
            NoisingProcess(build_scheduler(), self.device),
            JointData(
                self._pictures(scenes),
                self._latents("large-maps", scenes, lambda part: colorize(scenes.labels[part])),
                scenes.labels,
                scenes.captions,
            ),
            self.preset.joint,
            self.work,
            self.options,
        )
        for name, model in (("controlnet", controlnet), ("adapter", adapter)):
            if not (self.folder / name).exists():  # an interrupted run may have left the first
                self._save(model, self.folder / name)
        return adapter, controlnet

    def _base(
        self,
    ) -> tuple[UNet2DConditionModel, CLIPTextModel, CaptionTokens, NoisingProcess]:
        """What every factor learns over."""
        return (
            self.load(UNet2DConditionModel, "unet"),
            self.load(CLIPTextModel, "text_encoder"),
            CaptionTokens(load_tokenizer(self.start / "tokenizer"), self.device),
            NoisingProcess(build_scheduler(), self.device),
        )

    def _load_adapter(self, name: str) -> TimestepAdapter:
        """A factor's adapter of `start`, to learn more."""
        adapter: TimestepAdapter = (
            self._load_factor(TimestepAdapter, "adapter")
            if name == "segmentation"
            else self.load(TimestepAdapter, f"adapter_{name}")
        )
        adapter.requires_grad_(True)
        return adapter

    def _load_factor(self, kind: type[Any], name: str) -> Any:
        """A model of `start` whose folder has another name in a run than in a bundle."""
        in_run = (self.start / name).exists()
        return self.load(kind, name if in_run else f"{name}_segmentation")

    def _scenes(self, seed: int, count: int, size: int) -> SceneSet:
        folder = self.work / "data"
        return scene_set(folder, seed, count, size, self.preset.map_size, self.workers)

    def _map_latents(self, kind: FactorName, scenes: SceneSet) -> Tensor:
        """Latents of the maps of the small scenes."""

        def pictures(part: slice) -> np.ndarray:
            if kind == "segmentation":
                return colorize(scenes.labels[part])
            seeds = range(SMALL_SEED + part.start, SMALL_SEED + part.stop)
            drawn = [map_picture(kind, sample_scene(i), self.preset.map_size) for i in seeds]
            return np.stack(drawn)

        return self._latents(kind, scenes, pictures)

    def _pictures(self, scenes: SceneSet) -> Tensor:
        """Latents of the large scenes' pictures."""
        return self._latents("large", scenes, lambda part: scenes.images[part])

    def _latents(
        self, name: str, scenes: SceneSet, pictures: Callable[[slice], np.ndarray]
    ) -> Tensor:
        """Latents of a picture of every scene, made the first time.

        pictures: of a part of the scenes, (n, S, S, 3).
        """
        folder = self.work / f"latents-{name}"
        return encode_once(
            folder, lambda: self.load(AutoencoderKL, "vae"), len(scenes), pictures, self.device
        )

    def _save(self, model: Any, folder: Path) -> None:
        """Write a model's folder under another name first: a folder that exists is complete."""
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        model.save_pretrained(partial)
        partial.replace(folder)
        draw_curves(self.work, self.folder / "curves.png")
