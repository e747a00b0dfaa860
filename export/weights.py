"""A bundle's weights: once on disk, as diffusers lays them out; graphs point into those files.

A safetensors file is an 8-byte little-endian length, a JSON header of that length, and the tensors'
raw bytes, to which the header's offsets refer: ONNX external data as it stands.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx_ir as ir
import torch
from diffusers import ConfigMixin
from safetensors.torch import save_file
from torch import nn

from .errors import ExportError
from .sources.tensors import read_header

Storage = Literal["fp16", "fp32"]
DTYPES = {"fp16": torch.float16, "fp32": torch.float32}

_IR_TYPES = {"F16": ir.DataType.FLOAT16, "F32": ir.DataType.FLOAT}
#: Entries of a config that name the machine it was loaded on.
_LOCAL_KEYS = ("_name_or_path", "_commit_hash")


@dataclass(frozen=True)
class StoredTensor:
    """Where a parameter lies: `file` is relative to the bundle, `offset` and `length` in bytes."""

    file: str
    key: str
    offset: int
    length: int
    dtype: ir.DataType
    shape: tuple[int, ...]

    def external(self, name: str, root: Path) -> ir.ExternalTensor:
        return ir.ExternalTensor(
            self.file,
            self.offset,
            self.length,
            self.dtype,
            shape=ir.Shape(self.shape),
            name=name,
            base_dir=str(root),
        )


class WeightStore:
    """Writes models into a bundle's folder and knows afterwards where each parameter lies.

    root: the bundle's folder. storage: the type of the numbers on disk.
    """

    def __init__(self, root: Path, storage: Storage) -> None:
        self.root, self.storage = root, storage
        self._tensors: dict[nn.Parameter, StoredTensor] = {}

    def save(self, model: nn.Module, folder: str, filename: str, prefix: str = "") -> None:
        """Write `model` as ``folder/config.json`` and ``folder/filename``.

        prefix: what the file has before the names that the model has for its tensors.

        The model's parameters are rounded to the storage type in place, so that it computes from
        the same numbers as the graphs.

        Raises:
            ExportError: a parameter isn't finite, or overflows in the storage type.
        """
        dtype = DTYPES[self.storage]
        for name, parameter in model.named_parameters():
            rounded = parameter.data.to(dtype)
            if not rounded.isfinite().all():
                largest = parameter.data.abs().max().item()
                raise ExportError(
                    f"{folder}: {name} reaches {largest:g}, which {self.storage} can't hold. "
                    "Check the checkpoint, or store the weights as fp32"
                )
            parameter.data = rounded.float()
        target = self.root / folder
        target.mkdir(parents=True)
        state = {
            prefix + key: value.to(dtype).contiguous() for key, value in model.state_dict().items()
        }
        save_file(state, target / filename, metadata={"format": "pt"})
        writer = model if isinstance(model, ConfigMixin) else model.config
        config = json.loads(writer.to_json_string())  # type: ignore[union-attr, operator]
        portable = {key: value for key, value in config.items() if key not in _LOCAL_KEYS}
        (target / "config.json").write_text(json.dumps(portable, indent=2) + "\n")
        # safetensors makes its files private to the user, whatever the umask says.
        (target / filename).chmod((target / "config.json").stat().st_mode)

        self.adopt(model, folder, filename, prefix)

    def adopt(self, model: nn.Module, folder: str, filename: str, prefix: str = "") -> None:
        """Know where the parameters of `model` lie, which ``folder/filename`` holds already."""
        stored = read_index(self.root, f"{folder}/{filename}")
        for key, parameter in model.named_parameters(remove_duplicate=False):
            self._tensors[parameter] = stored[prefix + key]

    def find(self, parameter: nn.Parameter) -> StoredTensor | None:
        """Where a parameter of a saved model lies; None for any other."""
        return self._tensors.get(parameter)


def read_index(root: Path, file: str) -> dict[str, StoredTensor]:
    """The float tensors of the safetensors file `root`/`file` by key."""
    header, begin = read_header(root / file)
    index: dict[str, StoredTensor] = {}
    for key, entry in header.items():
        if key == "__metadata__" or entry["dtype"] not in _IR_TYPES:
            continue
        start, end = entry["data_offsets"]
        dtype, shape = _IR_TYPES[entry["dtype"]], tuple(entry["shape"])
        index[key] = StoredTensor(file, key, begin + start, end - start, dtype, shape)
    return index
