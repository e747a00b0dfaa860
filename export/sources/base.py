"""The text-to-image base: a diffusers folder or repository, or one checkpoint file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

from ..errors import ExportError
from .checkpoints import load_parts
from .families import check_pipeline, refuse
from .folders import load_folder, load_text_encoder
from .places import DIFFUSERS_WEIGHTS, TRANSFORMERS_WEIGHTS, Component, Source, locate
from .scheduler import read_scheduler
from .sd1 import SCHEDULER, SD1, TOKENIZER, Architecture
from .tensors import read_json, read_tensors
from .tokenizers import TOKENIZER_FILES, Tokenizer, load_tokenizer

_COMPONENTS = (
    Component("unet", DIFFUSERS_WEIGHTS),
    Component("vae", DIFFUSERS_WEIGHTS),
    Component("text_encoder", TRANSFORMERS_WEIGHTS),
)
_FILES = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    *(f"tokenizer/{name}" for name in TOKENIZER_FILES),
)


@dataclass(frozen=True)
class Base:
    """A base model's parts, in float32 on the CPU.

    scheduler: num_train_timesteps, beta_start, beta_end, beta_schedule, prediction_type,
    timestep_spacing and steps_offset, as diffusers' schedulers take them.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: Tokenizer
    scheduler: Mapping[str, Any]


def load_base(
    source: Source, tokenizer: Source | None = None, architecture: Architecture = SD1
) -> Base:
    """Read a diffusers folder, a Hugging Face id, or a checkpoint (.safetensors, .ckpt).

    A folder's safety checker and feature extractor are ignored. A checkpoint holds neither
    tokenizer nor noise schedule: the former comes from `tokenizer`, or else from the hub or its
    cache (`sd1.TOKENIZER`); the latter is Stable Diffusion 1.x's.

    tokenizer: a folder or Hugging Face id; None takes the base's own.
    architecture: what a checkpoint's parts look like.

    Raises:
        ExportError: something is missing or unreadable, of another family, or not what its
            configuration says.
    """
    path = locate(source, "the base", _COMPONENTS, _FILES)
    if path.is_dir():
        return _from_folder(path, tokenizer)
    words = load_tokenizer(TOKENIZER if tokenizer is None else tokenizer)
    parts = load_parts(read_tensors(path), architecture, str(path))
    return Base(*parts, words, SCHEDULER)


def _from_folder(folder: Path, tokenizer: Source | None) -> Base:
    if (folder / "model_index.json").is_file():
        check_pipeline(
            str(read_json(folder / "model_index.json").get("_class_name", "")), str(folder)
        )
    if (folder / "transformer").is_dir():
        refuse(str(folder), "a model with a transformer, such as Stable Diffusion 3 or Flux")
    if not (folder / "unet").is_dir():
        raise ExportError(
            f"{folder} has no folder unet; expected a diffusers folder with unet, vae, "
            "text_encoder, tokenizer and scheduler"
        )
    if tokenizer is None and not (folder / "tokenizer").is_dir():
        raise ExportError(
            f"{folder} has no tokenizer; give one with --tokenizer FOLDER_OR_ID, such as "
            f"{TOKENIZER}"
        )
    scheduler = read_scheduler(folder)
    return Base(
        load_folder(UNet2DConditionModel, folder / "unet"),
        load_folder(AutoencoderKL, folder / "vae"),
        load_text_encoder(folder / "text_encoder"),
        load_tokenizer(folder / "tokenizer" if tokenizer is None else tokenizer),
        scheduler,
    )
