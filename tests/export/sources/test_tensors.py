"""Weight files that are cut short, corrupt or malicious are refused, and say what is wrong."""

from __future__ import annotations

import json
import os
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from fgdm.export.errors import ExportError
from fgdm.export.sources.tensors import read_json, read_shards, read_tensors
from safetensors.torch import save_file

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1000)}


def assert_same(read: dict[str, torch.Tensor]) -> None:
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[key], value) for key, value in TENSORS.items())


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt", "model.pth", "model.bin"])
def test_the_format_is_told_from_the_content(tmp_path: Path, name: str) -> None:
    """Files are renamed in the wild: a checkpoint may be safetensors behind another suffix."""
    save_file(TENSORS, tmp_path / name)
    assert_same(read_tensors(tmp_path / name))
    if not name.endswith(".safetensors"):
        torch.save({"state_dict": TENSORS, "epoch": 3}, tmp_path / name)
        assert_same(read_tensors(tmp_path / name))


def test_truncated_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(TENSORS, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(ExportError) as error:
        read_tensors(path)
    described = f"describes {len(whole)} bytes, but the file has {len(whole) - 1}; download it"
    assert str(path) in str(error.value)
    assert described in str(error.value)


def header(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


def entry(**changes: Any) -> bytes:
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}
    return header(json.dumps({"a": tensor}).encode()) + bytes(4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated"),
        (b"\x10\x00", "truncated"),
        (header(b"{}")[:-1], "truncated"),
        (struct.pack("<Q", 1 << 60) + b"{}", "its header would take 1152921504606846976 bytes"),
        (header(b'{"a": '), "corrupt safetensors header"),
        (header(b"[]"), "corrupt safetensors header"),
        (header(b'{"a": 3}'), "corrupt safetensors header"),
        (entry(data_offsets=[0]), "corrupt safetensors header"),
        (entry(dtype="F99"), "corrupt safetensors file"),
        (entry(shape=[2]), "corrupt safetensors file"),
        (b"PK\x03\x04" + bytes(100), "header would take"),
    ],
)
def test_corrupt_safetensors(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ExportError, match=message):
        read_tensors(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_truncated_checkpoint(tmp_path: Path, zipped: bool, keep: float) -> None:
    path = tmp_path / "model.ckpt"
    torch.save(TENSORS, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(ExportError, match="truncated or corrupt PyTorch checkpoint"):
        read_tensors(path)


class Malicious:
    """Runs a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, form: str) -> None:
    path, trace = tmp_path / "model.ckpt", tmp_path / "it-was-run"
    content = {"a": torch.ones(1), "b": Malicious(os.mkdir, str(trace))}
    if form == "bare":
        path.write_bytes(pickle.dumps(content["b"], protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ExportError, match="asks to run code") as error:
        read_tensors(path)
    assert not trace.exists()
    assert "mkdir" in str(error.value)
    assert ".safetensors" in str(error.value)


def test_advice_to_load_unsafely_is_not_passed_on(tmp_path: Path) -> None:
    path, trace = tmp_path / "model.ckpt", tmp_path / "it-was-run"
    path.write_bytes(pickle.dumps(Malicious(os.mkdir, str(trace)), protocol=4))
    with pytest.raises(ExportError, match="truncated or corrupt") as error:
        read_tensors(path)
    assert not trace.exists()
    assert "weights_only" not in str(error.value)


def test_what_lightning_left_is_neither_imported_nor_an_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stable Diffusion 1.4's own file holds a callback's class as a dictionary key."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = ModuleType(name)
    callback = type("ModelCheckpoint", (), {"__module__": name})
    module.ModelCheckpoint = callback  # type: ignore[attr-defined]
    path = tmp_path / "sd-v1-4.ckpt"
    with monkeypatch.context() as patch:
        for package in ("pytorch_lightning", "pytorch_lightning.callbacks"):
            patch.setitem(sys.modules, package, ModuleType(package))
        patch.setitem(sys.modules, name, module)
        content = {"state_dict": TENSORS, "callbacks": {callback: {"best": callback()}}}
        torch.save(content, path)
    assert_same(read_tensors(path))
    assert name not in sys.modules


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(1)], "holds a list; expected a dictionary"),
        ({1: torch.ones(1)}, "tensors without names"),
    ],
)
def test_checkpoint_without_names(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(ExportError, match=message):
        read_tensors(tmp_path / "model.pt")


def test_files_of_other_kinds(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    with pytest.raises(ExportError, match="can't read"):
        read_tensors(path)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n")
    with pytest.raises(ExportError, match="Git LFS pointer"):
        read_tensors(path)
    path.write_text("<!doctype html><title>Not found</title>")
    with pytest.raises(ExportError, match="neither a safetensors file nor a PyTorch checkpoint"):
        read_tensors(path)


def test_shards(tmp_path: Path) -> None:
    for number, (key, value) in enumerate(TENSORS.items()):
        save_file({key: value}, tmp_path / f"m-{number}.safetensors")
    index = tmp_path / "m.safetensors.index.json"
    files = {"a": "m-0.safetensors", "b": "m-1.safetensors"}
    index.write_text(json.dumps({"weight_map": files}))
    assert_same(read_shards(index))
    (tmp_path / "m-1.safetensors").unlink()
    with pytest.raises(ExportError, match=r"m-1\.safetensors"):
        read_shards(index)
    index.write_text("{}")
    with pytest.raises(ExportError, match="weight_map"):
        read_shards(index)


def test_a_checkpoint_that_holds_itself(tmp_path: Path) -> None:
    loop: dict[str, Any] = {}
    loop["state_dict"] = loop
    torch.save(loop, tmp_path / "loop.bin")
    assert read_tensors(tmp_path / "loop.bin") == {}


def test_sparse_tensors_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.eye(2).to_sparse()}, tmp_path / "sparse.bin")
    with pytest.raises(ExportError, match="holds the sparse tensor weight"):
        read_tensors(tmp_path / "sparse.bin")


def test_json_that_is_nested_deeply(tmp_path: Path) -> None:
    nested = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    (tmp_path / "config.json").write_bytes(nested)
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(nested)) + nested)
    with pytest.raises(ExportError, match=r"can't read .*config\.json"):
        read_json(tmp_path / "config.json")
    with pytest.raises(ExportError, match="corrupt safetensors header"):
        read_tensors(tmp_path / "model.safetensors")
