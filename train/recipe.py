"""The whole recipe, stage by stage; finished stages are read back, so a run can be interrupted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from fgdm.export.adapter import TimestepAdapter
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from .autoencoder import encode_once, random_colorize, train_autoencoder
from .base import train_base
from .classes import palette_json
from .condition import train_adapter
from .curves import draw_curves
from .dataset import SceneSet, made_once, scene_set
from .diffusion import CaptionTokens, NoisingProcess
from .loop import LoopOptions
from .models import (
    build_adapter,
    build_autoencoder,
    build_controlnet,
    build_scheduler,
    build_text_encoder,
    build_unet,
)
from .painter import Pictures, hint_maps, train_controlnet
from .presets import Preset
from .render import colorize
from .segmenter import Segmenter, train_segmenter
from .tokens import load_tokenizer, train_tokenizer

SMALL_SEED, LARGE_SEED = 1_000_000, 2_000_000


class Recipe:
    """One training run in one folder.

    The folder ends up as a diffusers pipeline folder (``unet``, ``vae``, ``text_encoder``,
    ``tokenizer``, ``scheduler``, ``controlnet``) with ``adapter``, ``adapter_plain`` (the ablation
    without distillation), ``segmenter`` and ``palette.json`` beside them; ``work`` holds what only
    training needs. `start` names a folder of the same layout, or a bundle: autoencoder, base,
    tokenizer and, where it has one, ControlNet begin with its weights instead of random ones. The
    adapters, which are compared with each other, begin anew. `seed` decides what steps draw; it
    doesn't change the scenes.
    """

    def __init__(
        self,
        preset: Preset,
        folder: Path,
        device: torch.device,
        workers: int,
        start: Path | None = None,
        seed: int = 0,
    ) -> None:
        self.preset, self.folder, self.device, self.workers = preset, folder, device, workers
        self.start = start
        self.work = folder / "work"
        self.work.mkdir(parents=True, exist_ok=True)
        self.options = LoopOptions(device, seed)
        self.scheduler = build_scheduler()
        self.process = NoisingProcess(self.scheduler, device)

    def run(self, ablation: bool = True) -> None:
        """Every stage in order. `ablation` also trains the adapter without distillation."""
        (self.folder / "palette.json").write_text(json.dumps(palette_json(), indent=1) + "\n")
        self.scheduler.save_pretrained(self.folder / "scheduler")
        self.tokenizer()
        self.autoencoder()
        self.base()
        self.adapter("adapter", self.preset.distill_weight)
        self.controlnet()
        self.segmenter()
        if ablation:
            self.adapter("adapter_plain", 0.0)
        pipeline = {
            "_class_name": "StableDiffusionPipeline",
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "scheduler": ["diffusers", "DDIMScheduler"],
            "safety_checker": [None, None],
            "feature_extractor": [None, None],
            "requires_safety_checker": False,
        }
        (self.folder / "model_index.json").write_text(json.dumps(pipeline, indent=1) + "\n")

    # The data.

    def small(self) -> SceneSet:
        size = self.preset.map_size
        return self._scenes(SMALL_SEED, self.preset.scenes, size)

    def large(self) -> SceneSet:
        return self._scenes(LARGE_SEED, self.preset.large_scenes, self.preset.image_size)

    def _scenes(self, seed: int, count: int, size: int) -> SceneSet:
        folder = self.work / "data"
        return scene_set(folder, seed, count, size, self.preset.map_size, self.workers)

    def _latents(
        self, name: str, count: int, pictures: Callable[[slice], np.ndarray]
    ) -> torch.Tensor:
        """Latents of `count` pictures, made the first time. pictures: (n, S, S, 3) of a part."""
        folder = self.work / f"latents-{name}"
        return encode_once(folder, self.autoencoder, count, pictures, self.device)

    def _small_pictures(self, small: SceneSet) -> torch.Tensor:
        return self._latents("small", len(small), lambda part: small.images[part])

    def _maps(self, small: SceneSet) -> torch.Tensor:
        return self._latents("maps", len(small), lambda part: colorize(small.labels[part]))

    def _hints(self, name: str, labels: np.ndarray) -> np.ndarray:
        return made_once(
            self.work / f"hints-{name}.npy",
            lambda: hint_maps(self.autoencoder(), labels, self.device),
        )

    def _pictures(self, name: str, scenes: SceneSet) -> Pictures:
        latents = self._latents(name, len(scenes), lambda part: scenes.images[part])
        return Pictures(latents, self._hints(name, scenes.labels), scenes.labels, scenes.captions)

    def _begin(self, model: Any, name: str) -> None:
        if self.start is not None:
            trained = type(model).from_pretrained(self.start / name, torch_dtype=torch.float32)
            model.load_state_dict(trained.state_dict())

    def _begin_controlnet(self, model: ControlNetModel) -> bool:
        """Whether there was a trained one to begin with."""
        for name in ("controlnet", "controlnet_segmentation"):  # a run's folder, a bundle's
            if self.start is not None and (self.start / name).exists():
                self._begin(model, name)
                return True
        return False

    # The stages: each returns its trained model, trained now or read back.

    def tokenizer(self) -> CLIPTokenizer:
        folder = self.folder / "tokenizer"
        if folder.exists():
            return load_tokenizer(folder)
        if self.start is not None:
            partial = folder.with_name("tokenizer.partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(self.start / "tokenizer", partial).replace(folder)
            return load_tokenizer(folder)
        texts = (text for variants in self.small().captions for text in variants)
        return train_tokenizer(texts, folder, self.preset.max_tokens)

    def autoencoder(self) -> AutoencoderKL:
        folder = self.folder / "vae"
        if folder.exists():
            return AutoencoderKL.from_pretrained(folder).to(self.device)
        torch.manual_seed(1)
        vae = build_autoencoder(self.preset).to(self.device)
        self._begin(vae, "vae")
        train_autoencoder(vae, self.small(), self.large(), self.preset, self.work, self.options)
        self._save(vae, folder)
        return vae

    def _unet(self) -> UNet2DConditionModel:
        unet = UNet2DConditionModel.from_pretrained(self.folder / "unet")
        unet.set_attn_processor(build_unet(self.preset).attn_processors)
        return unet.to(self.device)

    def base(self) -> tuple[UNet2DConditionModel, CLIPTextModel]:
        if (self.folder / "unet").exists():
            text_encoder = CLIPTextModel.from_pretrained(self.folder / "text_encoder")
            return self._unet(), text_encoder.to(self.device)
        small, large, tokenizer = self.small(), self.large(), self.tokenizer()
        posters = min(self.preset.scenes // 2, len(small))
        torch.manual_seed(2)
        unet = build_unet(self.preset).to(self.device)
        text_encoder = build_text_encoder(
            self.preset, len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id
        ).to(self.device)
        self._begin(unet, "unet")
        self._begin(text_encoder, "text_encoder")

        def poster(part: slice) -> np.ndarray:
            rng = np.random.default_rng((3, part.start))
            return random_colorize(small.labels[part], rng)

        train_base(
            unet,
            text_encoder,
            CaptionTokens(tokenizer, self.device),
            self.process,
            (self._small_pictures(small), small.captions),
            (self._maps(small), small.captions),
            (self._latents("posters", posters, poster), small.captions[:posters]),
            (
                self._latents("large", len(large), lambda part: large.images[part]),
                large.captions,
            ),
            self.preset,
            self.work,
            self.options,
        )
        self._save(text_encoder, self.folder / "text_encoder")
        self._save(unet, self.folder / "unet")
        return unet, text_encoder

    def adapter(self, name: str, distill_weight: float) -> TimestepAdapter:
        folder = self.folder / name
        if folder.exists():
            trained: TimestepAdapter = TimestepAdapter.from_pretrained(folder).to(self.device)
            return trained
        unet, text_encoder = self.base()
        small = self.small()
        torch.manual_seed(4)
        adapter: TimestepAdapter = build_adapter(self.preset).to(self.device)
        train_adapter(
            name,
            adapter,
            unet,
            text_encoder,
            CaptionTokens(self.tokenizer(), self.device),
            self.process,
            self._maps(small),
            self._small_pictures(small),
            small.captions,
            self.preset,
            self.work,
            self.options,
            distill_weight,
        )
        self._save(adapter, folder)
        return adapter

    def controlnet(self) -> ControlNetModel:
        folder = self.folder / "controlnet"
        if folder.exists():
            return ControlNetModel.from_pretrained(folder).to(self.device)
        unet, text_encoder = self.base()
        torch.manual_seed(5)
        controlnet = build_controlnet(self.preset, unet).to(self.device)
        follows_maps = self._begin_controlnet(controlnet)
        train_controlnet(
            controlnet,
            unet,
            text_encoder,
            CaptionTokens(self.tokenizer(), self.device),
            self.process,
            None if follows_maps else self._pictures("small", self.small()),
            self._pictures("large", self.large()),
            self.preset,
            self.work,
            self.options,
        )
        self._save(controlnet, folder)
        return controlnet

    def segmenter(self) -> Segmenter:
        path = self.folder / "segmenter" / "model.safetensors"
        torch.manual_seed(6)
        model = Segmenter().to(self.device)
        if path.exists():
            model.load_state_dict(load_file(path))
            return model.eval()
        train_segmenter(model, self.large(), self.preset, self.work, self.options)
        path.parent.mkdir(exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file({name: weight.half() for name, weight in model.state_dict().items()}, partial)
        partial.replace(path)
        return model

    def _save(self, model: Any, folder: Path) -> None:
        """Write a model's folder under another name first: a folder that exists is complete."""
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        model.save_pretrained(partial)
        partial.replace(folder)
        draw_curves(self.work, self.folder / "curves.png")
