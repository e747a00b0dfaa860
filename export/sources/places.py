"""Where a model comes from: a path on this machine, or a repository on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

from ..errors import ExportError
from .tensors import shard_names

#: A path; or, as text, also a Hugging Face id ``owner/name``, or ``owner/name/file`` for one file.
Source = str | Path

_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:/(.+))?")


@dataclass(frozen=True)
class Component:
    """A model inside a repository: its folder ("" for the root) and its weight files, best first.

    An entry that ends in ``.json`` is an index, which stands for the shards it lists.
    """

    folder: str
    weights: tuple[str, ...]

    def path(self, name: str) -> str:
        return f"{self.folder}/{name}" if self.folder else name


#: What `variant` is in published repositories, best first.
_VARIANTS = ("fp32", "fp16", "bf16")
#: Weights before they were averaged: taken where there are no others.
_LAST_VARIANTS = ("non_ema",)


def _ranked(safetensors: str, pickled: str) -> tuple[str, ...]:
    """Weight files by name, best first: safetensors, then whole numbers before variants."""
    files = (safetensors, pickled)
    whole = [name for file in files for name in (file, f"{file}.index.json", *_variants(file))]
    last = [name for file in files for name in _variants(file, _LAST_VARIANTS)]
    return (*whole, *last)


def _variants(file: str, variants: Sequence[str] = _VARIANTS) -> list[str]:
    """Of an index there are three spellings: transformers', diffusers', and that of older files."""
    stem, suffix = file.rsplit(".", 1)
    return [
        name
        for variant in variants
        for name in (
            f"{stem}.{variant}.{suffix}",
            f"{file}.index.{variant}.json",
            f"{file}.{variant}.index.json",
            f"{stem}.{variant}.{suffix}.index.json",
        )
    ]


DIFFUSERS_WEIGHTS = _ranked("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
TRANSFORMERS_WEIGHTS = _ranked("model.safetensors", "pytorch_model.bin")
#: A repository that is one diffusers model.
LONE_MODEL = (Component("", DIFFUSERS_WEIGHTS),)


def locate(
    source: Source, what: str, components: Sequence[Component] = (), files: Sequence[str] = ()
) -> Path:
    """The file or folder that `source` names, downloaded if it is a Hugging Face id.

    A path that exists is never looked up on the hub. Of a repository, only each component's
    config.json and best weights and the `files` are fetched, through huggingface_hub's cache, which
    also serves them without a network. `what` names the source in errors.

    Raises:
        ExportError: nothing is there, and it can't be downloaded.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path
    match = _HUB_ID.fullmatch(source) if isinstance(source, str) else None
    # "runs/adapter" where there is a folder "runs" is a misspelt path, not somebody's repository.
    if match is None or Path(path.parts[0]).is_dir():
        raise ExportError(
            f"{what}: there is no {path}; expected a file, a folder, or a Hugging Face id such as "
            "owner/name"
        )
    repository, file = match.groups()
    if file is not None:
        return _existing(_download(repository, [file], what) / file, what)
    return _fetch(repository, components, files, what)


def _fetch(
    repository: str, components: Sequence[Component], files: Sequence[str], what: str
) -> Path:
    """Download what is wanted; weights of lesser rank only for components without better ones."""
    wanted = [*files, *(component.path("config.json") for component in components)]
    singles = {
        component: [name for name in component.weights if not name.endswith(".json")]
        for component in components
    }
    # Indices are small, and few repositories have one: they are asked for together.
    indices = [
        component.path(name)
        for component in components
        for name in component.weights
        if name.endswith(".json")
    ]
    folder, without = Path(), list(components)
    for rank in range(max(map(len, singles.values()), default=1)):
        names = [part.path(singles[part][rank]) for part in without if rank < len(singles[part])]
        folder = _download(repository, [*wanted, *(indices if rank == 0 else ()), *names], what)
        without = [entry for entry in without if find_weights(folder, entry) is None]
        if not without:
            break
    shards = [
        Component(component.folder, ()).path(name)
        for component in components
        if (path := find_weights(folder, component)) is not None and path.suffix == ".json"
        for name in shard_names(path)
    ]
    return _download(repository, [*wanted, *shards], what) if shards else folder


def find_weights(folder: Path, component: Component) -> Path | None:
    """The best weight file of a component that is there; None if there is none."""
    paths = (folder / component.path(name) for name in component.weights)
    return next((path for path in paths if path.is_file()), None)


def _download(repository: str, patterns: list[str], what: str) -> Path:
    try:
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=patterns))
    except GatedRepoError as error:
        raise ExportError(
            f"{what}: {repository} asks its users to accept its licence; accept it on the "
            "repository's page and log in with `hf auth login`"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ExportError(
            f"{what}: there is no file or folder {repository}, and no Hugging Face repository of "
            "that name is open to this user; check the spelling, or log in with `hf auth login`"
        ) from error
    except Exception as error:  # Errors of the network library underneath come through as well.
        first = str(error).partition("\n")[0]
        raise ExportError(
            f"{what}: {repository} can be neither downloaded nor found whole in huggingface_hub's "
            f"cache ({first}). Check the network and HF_HUB_OFFLINE, or download it elsewhere and "
            "give its folder"
        ) from error


def _existing(path: Path, what: str) -> Path:
    if not path.is_file():
        raise ExportError(f"{what}: the repository has no file {path.name}; check its name")
    return path
