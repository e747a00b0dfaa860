"""Paths and Hugging Face ids: what is fetched, what the cache serves, and what errors say."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest
from fgdm.export.errors import ExportError
from fgdm.export.sources.places import (
    DIFFUSERS_WEIGHTS,
    LONE_MODEL,
    TRANSFORMERS_WEIGHTS,
    Component,
    locate,
)
from huggingface_hub import constants

UNET = Component("unet", DIFFUSERS_WEIGHTS)
TEXT = Component("text_encoder", TRANSFORMERS_WEIGHTS)
BEST = "diffusion_pytorch_model.safetensors"


def cached(cache: Path, repository: str, *files: str) -> Path:
    """A repository in huggingface_hub's cache, as a download leaves it."""
    root = cache / f"models--{repository.replace('/', '--')}"
    snapshot = root / "snapshots" / ("0" * 40)
    for name in files:
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_text(name)
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / "main").write_text("0" * 40)
    return snapshot


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, without a network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def test_a_path_that_exists_is_taken_as_it_is(cache: Path, tmp_path: Path) -> None:
    cached(cache, "runs/scenes", "config.json")
    (tmp_path / "runs/scenes").mkdir(parents=True)
    for source in ("runs/scenes", Path("runs/scenes"), tmp_path / "runs/scenes"):
        assert locate(source, "the base") == Path(source)


def test_the_cache_serves_an_id_without_a_network(cache: Path) -> None:
    snapshot = cached(cache, "owner/model", "config.json", BEST)
    assert locate("owner/model", "the adapter", LONE_MODEL) == snapshot


def test_one_file_of_a_repository(cache: Path) -> None:
    snapshot = cached(cache, "owner/model", "loras/style.safetensors")
    found = locate("owner/model/loras/style.safetensors", "the LoRA")
    assert found == snapshot / "loras/style.safetensors"
    with pytest.raises(ExportError, match=r"has no file other.safetensors"):
        locate("owner/model/other.safetensors", "the LoRA")


@pytest.mark.parametrize("source", ["owner/model", "owner/model/file.pt"])
def test_neither_network_nor_cache(cache: Path, source: str) -> None:
    with pytest.raises(ExportError) as error:
        locate(source, "the base", [UNET])
    message = str(error.value)
    assert message.startswith("the base: owner/model can be neither downloaded nor found")
    assert "HF_HUB_OFFLINE" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "source", ["missing", "/missing/folder", "a/../b", "runs/typo", "runs/a/typo", Path("own/er")]
)
def test_a_misspelt_path_is_not_looked_up(cache: Path, tmp_path: Path, source: str | Path) -> None:
    """Where there is a folder runs, runs/typo means a path; and a Path never means an id."""
    (tmp_path / "runs").mkdir()
    with pytest.raises(
        ExportError, match=r"the base: there is no .*; expected a file, a folder, or"
    ):
        locate(source, "the base", [UNET])


class Hub:
    """Stands for the hub: hands out the files of one repository that a call asks for."""

    def __init__(self, root: Path, *files: str) -> None:
        self.root, self.files = root, files
        self.calls: list[list[str]] = []

    def snapshot_download(self, repository: str, allow_patterns: list[str]) -> str:
        assert repository == "owner/model"
        self.calls.append(allow_patterns)
        for name in self.files:
            if any(fnmatch(name, pattern) for pattern in allow_patterns):
                path = self.root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(self._content(name))
        return str(self.root)

    def _content(self, name: str) -> str:
        """Of an index, all the shards that lie beside it."""
        if not name.endswith(".json") or ".index." not in name:
            return ""
        folder = Path(name).parent
        shards = [f for f in self.files if Path(f).parent == folder and "-of-" in f]
        return json.dumps({"weight_map": {f: Path(f).name for f in shards}})

    @property
    def fetched(self) -> set[str]:
        paths = (path for path in self.root.rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)) for path in paths}


OTHERS = (
    "README.md",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_flax_model.msgpack",
    "safety_checker/model.safetensors",
    "v1-5-pruned.ckpt",
)
CONFIGS = {"unet/config.json", "text_encoder/config.json", "tokenizer/vocab.json"}


@pytest.mark.parametrize(
    ("weights", "wanted", "calls"),
    [
        # Of each component, only the best weights are fetched.
        (
            {"unet/" + name for name in DIFFUSERS_WEIGHTS if "index" not in name}
            | {"text_encoder/" + name for name in TRANSFORMERS_WEIGHTS if "index" not in name},
            {"unet/" + BEST, "text_encoder/model.safetensors"},
            1,
        ),
        (
            {"unet/diffusion_pytorch_model.fp16.safetensors", "text_encoder/model.safetensors"},
            {"unet/diffusion_pytorch_model.fp16.safetensors", "text_encoder/model.safetensors"},
            3,
        ),
        (
            {"unet/diffusion_pytorch_model.bin", "text_encoder/pytorch_model.bin"},
            {"unet/diffusion_pytorch_model.bin", "text_encoder/pytorch_model.bin"},
            5,
        ),
        (
            {
                "unet/diffusion_pytorch_model.safetensors.index.json",
                "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
                "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
                "text_encoder/model.safetensors",
            },
            {
                "unet/diffusion_pytorch_model.safetensors.index.json",
                "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
                "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
                "text_encoder/model.safetensors",
            },
            2,
        ),
        (
            {
                "unet/diffusion_pytorch_model.bin.index.json",
                "unet/diffusion_pytorch_model-00001-of-00001.bin",
                "text_encoder/model.safetensors.index.fp16.json",
                "text_encoder/model.fp16-00001-of-00001.safetensors",
            },
            {
                "unet/diffusion_pytorch_model.bin.index.json",
                "unet/diffusion_pytorch_model-00001-of-00001.bin",
                "text_encoder/model.safetensors.index.fp16.json",
                "text_encoder/model.fp16-00001-of-00001.safetensors",
            },
            2,
        ),
    ],
)
def test_only_what_is_needed_is_fetched(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    weights: set[str],
    wanted: set[str],
    calls: int,
) -> None:
    hub = Hub(tmp_path, *OTHERS, *CONFIGS, *weights)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    locate("owner/model", "the base", [UNET, TEXT], ["tokenizer/vocab.json"])
    assert hub.fetched == wanted | CONFIGS
    assert len(hub.calls) == calls


def response(error: type[Exception]) -> Exception:
    """An error of huggingface_hub without the response that it was made from."""
    return error.__new__(error)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (response(huggingface_hub.errors.GatedRepoError), "asks its users to accept its licence"),
        (response(huggingface_hub.errors.RepositoryNotFoundError), "no Hugging Face repository"),
        (ConnectionError("no route to host"), r"neither downloaded .* \(no route to host\)"),
        (RuntimeError("proxy"), r"neither downloaded .* \(proxy\)"),
    ],
)
def test_what_the_hub_says_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ExportError, match=message):
        locate("owner/model", "the base", [UNET])
