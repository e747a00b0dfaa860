"""Reads the tensors of a weight file, without ever running what is in it.

Tensors are views of the mapped file where its format allows: reading costs no memory until a
tensor is used, and the pages can be dropped again.
"""

from __future__ import annotations

import json
import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import ExportError

_LFS_POINTER = b"version https://git-lfs"
#: So many dictionaries called "state_dict" are looked through; one may hold itself.
_MOST_NESTED = 8
#: How a PyTorch checkpoint begins: a zip archive, or an old one's pickle.
_PICKLES = (b"PK\x03\x04", b"\x80")


class _Inert:
    """Stands for an object that training code left in a checkpoint beside its tensors."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _ParameterDict(dict[str, Any]):
    """Stands for PyTorch's, in which the first textual inversions were saved."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        entries = state.get("_parameters") or {key: state[key] for key in state.get("_keys", ())}
        self.update(entries)


#: Names that published checkpoints hold, Stable Diffusion 1.4's among them. None is imported.
_HARMLESS = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or a PyTorch checkpoint by key.

    The format is told from the file's content. Of a checkpoint, ``state_dict`` is taken if it is
    there, and everything that isn't a tensor is left out.

    Raises:
        ExportError: the file is missing, truncated, corrupt or of another format, or is a pickle
            that asks for code to be run; the code is not run.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(len(_LFS_POINTER))
    except OSError as error:
        raise ExportError(f"can't read {path}: {error}") from error
    if head.startswith(_LFS_POINTER):
        raise ExportError(f"{path} is a Git LFS pointer, not the file itself; run `git lfs pull`")
    if head[8:9] == b"{" or path.suffix == ".safetensors":
        return _read_safetensors(path)
    if head.startswith(b"GGUF"):
        raise ExportError(
            f"{path} is a GGUF file, whose weights are quantised; give the model it was made from, "
            "as .safetensors"
        )
    if head.startswith(_PICKLES):
        return _read_pickle(path)
    raise ExportError(
        f"{path} is neither a safetensors file nor a PyTorch checkpoint; expected .safetensors, "
        ".ckpt, .pt, .pth or .bin"
    )


def read_shards(index: Path) -> dict[str, Tensor]:
    """The tensors of all files that a model's index lists.

    Raises:
        ExportError: the index is malformed, or one of its files can't be read.
    """
    tensors: dict[str, Tensor] = {}
    for name in shard_names(index):
        tensors.update(read_tensors(index.with_name(name)))
    return tensors


def shard_names(index: Path) -> list[str]:
    """The files beside the index of a sharded model that it lists.

    Raises:
        ExportError: the index is malformed.
    """
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(n, str) for n in weight_map.values()):
        raise ExportError(f"{index} has no weight_map; expected the index of a sharded model")
    return sorted({Path(name).name for name in weight_map.values()})


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ExportError: the file is missing, isn't JSON, or holds something other than an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(f"can't read {path}: {error}") from error
    if not isinstance(content, dict):
        raise ExportError(f"{path} holds a {type(content).__name__}; expected an object")
    return content


def safetensors_metadata(path: Path) -> dict[str, str]:
    """The free-form notes in a safetensors file's header; empty for any other file."""
    with path.open("rb") as stream:
        if stream.read(9)[8:] != b"{":
            return {}
    return dict(read_header(path)[0].get("__metadata__", {}))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    header, start = read_header(path)
    try:
        tensors = (entry for key, entry in header.items() if key != "__metadata__")
        described = start + max((entry["data_offsets"][1] for entry in tensors), default=0)
    except (TypeError, KeyError, IndexError) as error:
        raise ExportError(f"{path} has a corrupt safetensors header; download it again") from error
    actual = path.stat().st_size
    if actual < described:
        raise ExportError(
            f"{path} is truncated: its header describes {described} bytes, but the file has "
            f"{actual}; download it again"
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ExportError(f"{path} is a corrupt safetensors file: {error}") from error


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """A safetensors file's header, and where its tensors' bytes begin; `weights` has the format.

    Raises:
        ExportError: the file is truncated, or its header isn't an object in JSON.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if length > size - 8:
            raise ExportError(
                f"{path} is truncated or not a safetensors file: its header would take {length} "
                f"bytes, but the file has {size}; download it again"
            )
        try:
            header = json.loads(stream.read(length))
        except (ValueError, RecursionError) as error:
            raise ExportError(
                f"{path} has a corrupt safetensors header ({error}); download it again"
            ) from error
    if not isinstance(header, dict):
        raise ExportError(f"{path} has a corrupt safetensors header; download it again")
    return header, 8 + length


def read_nested(path: Path) -> Any:
    """What a safetensors file or a PyTorch checkpoint holds, as it is nested.

    Raises:
        ExportError: as `read_tensors`.
    """
    return _unpickled(path) if _is_pickle(path) else read_tensors(path)


def _is_pickle(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            head = stream.read(9)
    except OSError as error:
        raise ExportError(f"can't read {path}: {error}") from error
    return head.startswith(_PICKLES) and head[8:9] != b"{" and path.suffix != ".safetensors"


def _unpickled(path: Path) -> Any:
    """The content of a PyTorch checkpoint, without running what is in it."""
    stand_ins: list[Any] = [
        *((_Inert, name) for name in _HARMLESS),
        (_ParameterDict, "torch.nn.modules.container.ParameterDict"),
    ]
    try:
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            # PyTorch would ask for bug reports about pickle protocols that it doesn't know fully.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except pickle.UnpicklingError as error:
        raise ExportError(_pickle_message(path, str(error))) from error
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, AttributeError) as error:
        raise ExportError(
            f"{path} is a truncated or corrupt PyTorch checkpoint ({error}); download it again"
        ) from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    content = _unpickled(path)
    for _ in range(_MOST_NESTED):
        if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
            content = content["state_dict"]
    if not isinstance(content, dict):
        raise ExportError(
            f"{path} holds a {type(content).__name__}; expected a dictionary of tensors"
        )
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not all(isinstance(key, str) for key in tensors):
        raise ExportError(f"{path} holds tensors without names; expected a dictionary by name")
    sparse = [key for key, value in tensors.items() if value.layout != torch.strided]
    if sparse:
        raise ExportError(f"{path} holds the sparse tensor {sparse[0]}; save it dense")
    return cast("dict[str, Tensor]", {key: value.detach() for key, value in tensors.items()})


def _pickle_message(path: Path, text: str) -> str:
    code = re.search(r"GLOBAL (\S+)|unrecognized function (.+)", text)
    if code is not None:
        return (
            f"{path} is a pickle that asks to run code ({code[1] or code[2]}); it was refused and "
            "nothing was run. Get the model as .safetensors, or save its plain state_dict with "
            "torch.save"
        )
    # What PyTorch says before this is advice to load the file unsafely.
    reason = text.rpartition("WeightsUnpickler error: ")[2].strip().partition("\n")[0]
    return f"{path} is a truncated or corrupt PyTorch checkpoint ({reason}); download it again"
