"""The text-to-image base: a diffusers folder or repository, or one checkpoint file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

from ..errors import ExportError
from .checkpoints import (
    load_text_encoder_checkpoint,
    load_unet_checkpoint,
    load_vae_checkpoint,
    split_checkpoint,
)
from .families import check_pipeline, refuse
from .folders import load_folder, load_text_encoder
from .parts import (
    is_diffusers_unet,
    load_text_encoder_source,
    load_unet_file,
    load_vae,
    with_prefix,
)
from .places import (
    DIFFUSERS_WEIGHTS,
    LONE_MODEL,
    TRANSFORMERS_WEIGHTS,
    Component,
    Source,
    locate,
)
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
    "config.json",
    "model_index.json",
    "scheduler/scheduler_config.json",
    *(f"tokenizer/{name}" for name in TOKENIZER_FILES),
)


@dataclass(frozen=True)
class Base:
    """A base model's parts, in float32 on the CPU.

    scheduler: num_train_timesteps, beta_schedule, beta_start and beta_end or trained_betas,
    prediction_type, steps_offset and set_alpha_to_one, as diffusers' schedulers take them, and
    timestep_spacing by sampler ("ddim", "dpmsolver++").
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: Tokenizer
    scheduler: Mapping[str, Any]


def load_base(
    source: Source,
    tokenizer: Source | None = None,
    architecture: Architecture = SD1,
    *,
    vae: Source | None = None,
    text_encoder: Source | None = None,
) -> Base:
    """Read a diffusers folder, a Hugging Face id, or a checkpoint (.safetensors, .ckpt).

    A folder's safety checker and feature extractor are ignored. A checkpoint holds neither
    tokenizer nor noise schedule: the former comes from `tokenizer`, or else from the hub or its
    cache (`sd1.TOKENIZER`); the latter is Stable Diffusion 1.x's. The same holds for a UNet alone,
    in a folder or a file, whose autoencoder and text encoder have to be given.

    tokenizer: a folder or Hugging Face id; None takes the base's own.
    architecture: what a checkpoint's parts look like.
    vae, text_encoder: in place of the base's own; see `parts`.

    Raises:
        ExportError: something is missing or unreadable, of another family, or not what its
            configuration says.
    """
    others = _Others(vae, text_encoder, tokenizer, architecture)
    path = locate(source, "the base", _components(others), _FILES)
    if not path.is_dir():
        return _from_file(path, others)
    if (path / "unet").is_dir() or not _is_unet(path):
        return _from_folder(path, others)
    alone = locate(source, "the base", LONE_MODEL)
    others.need(str(path))
    unet = load_folder(UNet2DConditionModel, alone)
    return Base(unet, others.load_vae(), others.load_text_encoder(), others.words(), SCHEDULER)


@dataclass(frozen=True)
class _Others:
    """Where parts of a base come from that it hasn't itself, or that are to be others."""

    vae: Source | None
    text_encoder: Source | None
    tokenizer: Source | None
    architecture: Architecture

    def need(self, origin: str, own: Sequence[str] = ()) -> None:
        """Raises ExportError for a part that is neither among the base's `own` nor given."""
        for name, given, what, example in (
            ("vae", self.vae, "autoencoder", "stabilityai/sd-vae-ft-mse"),
            ("text-encoder", self.text_encoder, "text encoder", TOKENIZER),
        ):
            if given is None and name not in own:
                raise ExportError(
                    f"{origin} has no {what}; give one with --{name} SOURCE, such as {example}"
                )

    def load_vae(self) -> AutoencoderKL:
        assert self.vae is not None
        return load_vae(self.vae, self.architecture)

    def load_text_encoder(self) -> CLIPTextModel:
        assert self.text_encoder is not None
        return load_text_encoder_source(self.text_encoder, self.architecture)

    def words(self) -> Tokenizer:
        return load_tokenizer(TOKENIZER if self.tokenizer is None else self.tokenizer)


def _components(others: _Others) -> list[Component]:
    """What is fetched of a repository: not what comes from elsewhere."""
    given = {"vae": others.vae, "text_encoder": others.text_encoder}
    return [part for part in _COMPONENTS if given.get(part.folder) is None]


def _is_unet(folder: Path) -> bool:
    path = folder / "config.json"
    return path.is_file() and read_json(path).get("_class_name") == UNet2DConditionModel.__name__


def _from_file(path: Path, others: _Others) -> Base:
    origin, architecture = str(path), others.architecture
    tensors = with_prefix(read_tensors(path))
    if is_diffusers_unet(tensors):
        others.need(origin)
        unet = load_unet_file(tensors, path, architecture)
        return Base(unet, others.load_vae(), others.load_text_encoder(), others.words(), SCHEDULER)
    parts = split_checkpoint(tensors, origin)
    own = {"vae": parts.vae, "text-encoder": parts.text_encoder}
    others.need(origin, [name for name, part in own.items() if part])
    words = others.words()
    return Base(
        load_unet_checkpoint(parts.unet, architecture.unet, origin),
        load_vae_checkpoint(parts.vae, architecture.vae, origin)
        if others.vae is None
        else others.load_vae(),
        load_text_encoder_checkpoint(parts.text_encoder, architecture.text_encoder, origin)
        if others.text_encoder is None
        else others.load_text_encoder(),
        words,
        SCHEDULER,
    )


def _from_folder(folder: Path, others: _Others) -> Base:
    if (folder / "model_index.json").is_file():
        check_pipeline(
            str(read_json(folder / "model_index.json").get("_class_name", "")), str(folder)
        )
    if (folder / "transformer").is_dir():
        refuse(str(folder), "a model with a transformer, such as Stable Diffusion 3 or Flux")
    if not (folder / "unet").is_dir():
        raise ExportError(
            f"{folder} has no folder unet; expected a diffusers folder with unet, vae, "
            "text_encoder, tokenizer and scheduler, or a UNet's own"
        )
    own = {"vae": "vae", "text-encoder": "text_encoder"}
    others.need(str(folder), [name for name, inner in own.items() if (folder / inner).is_dir()])
    if others.tokenizer is None and not (folder / "tokenizer").is_dir():
        raise ExportError(
            f"{folder} has no tokenizer; give one with --tokenizer FOLDER_OR_ID, such as "
            f"{TOKENIZER}"
        )
    scheduler = read_scheduler(folder)
    return Base(
        load_folder(UNet2DConditionModel, folder / "unet"),
        load_folder(AutoencoderKL, folder / "vae") if others.vae is None else others.load_vae(),
        load_text_encoder(folder / "text_encoder")
        if others.text_encoder is None
        else others.load_text_encoder(),
        load_tokenizer(folder / "tokenizer" if others.tokenizer is None else others.tokenizer),
        scheduler,
    )
