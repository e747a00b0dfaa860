"""Networks of the user's own: an ONNX or TorchScript file, and a JSON file that describes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from fgdm.errors import RequestError
from fgdm.files import read_regular
from numpy.typing import NDArray
from PIL import Image

from .base import Floats, Pictures, Seen, resized

Kind = Literal["features", "labels", "distance"]
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


@dataclass(frozen=True)
class Description:
    """A network file, what it takes and what it gives.

    name: for tables. file: .onnx, or TorchScript of any other ending; beside the description.
    kind: "features", "labels" (logits (n, classes, h, w), or indices (n, h, w)) or "distance" (of
    two batches of pictures, (n,)). size: (height, width) that pictures are brought to; None leaves
    them. filter: "bilinear", "bicubic" or "nearest". input: "float32" of (pixel / 255 - mean) / std
    by channel, or "uint8". layout: "nchw" or "nhwc". output, logits: a name (ONNX, or of a
    TorchScript network that gives a dictionary) or a number; logits: those of a classifier.
    classes: of labels. sha256: if given, the file's.
    """

    name: str
    file: str
    kind: Kind
    size: tuple[int, int] | None = None
    filter: str = "bilinear"
    input: str = "float32"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    layout: str = "nchw"
    output: str | int = 0
    logits: str | int | None = None
    classes: tuple[str, ...] = ()
    sha256: str = ""

    @classmethod
    def read(cls, path: Path) -> Description:
        """Raises RequestError for what is none, with what is wrong."""
        try:
            content = json.loads(read_regular(path))
        except (OSError, ValueError) as error:
            raise RequestError(f"can't read the network's description in {path}: {error}") from None
        fields = cls.__dataclass_fields__
        if not isinstance(content, dict) or not {"name", "file", "kind"} <= content.keys():
            raise RequestError(f"{path} must be a JSON object with name, file and kind")
        unknown = content.keys() - fields.keys()
        if unknown:
            raise RequestError(f"{path} has {sorted(unknown)}; expected some of {list(fields)}")
        listed: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in content.items()
        }
        described = cls(**listed)
        for name, allowed in (
            ("kind", get_args(Kind)),
            ("filter", tuple(_FILTERS)),
            ("input", ("float32", "uint8")),
            ("layout", ("nchw", "nhwc")),
        ):
            if getattr(described, name) not in allowed:
                raise RequestError(
                    f"{path}: {name} is {getattr(described, name)!r}, expected one of {allowed}"
                )
        for name, length in (("size", 2), ("mean", 3), ("std", 3)):
            value = getattr(described, name)
            if value is not None and not _is_numbers(value, length):
                raise RequestError(f"{path}: {name} is {value!r}, expected {length} numbers")
        if described.kind == "labels" and not described.classes:
            raise RequestError(f"{path} describes labels; say the names of their classes")
        return described


class FileNetwork:
    """A network of any kind from its description; which methods it has sense for, its kind says."""

    is_inception = False

    def __init__(self, path: Path, device: str = "cpu") -> None:
        """path: of the description. Raises RequestError for files that can't be used."""
        self.description = Description.read(path)
        self.name = self.description.name
        self.classes: Sequence[str] = self.description.classes
        file = path.parent / self.description.file
        try:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            if self.description.sha256 not in ("", digest):
                raise RequestError(f"{file} has SHA-256 {digest}, not what {path} says")
            runner = _Onnx if file.suffix == ".onnx" else _TorchScript
            self._run: _Onnx | _TorchScript = runner(file, device)
        except RequestError:
            raise
        except Exception as error:  # of a file or a runtime
            raise RequestError(f"can't load the network in {file}: {error!s:.300}") from None

    def see(self, pictures: Pictures) -> Seen:
        """(n, d) features; of a network that gives more dimensions, all in a row."""
        outputs = self._run(self._prepared(pictures))
        rows = self._picked(outputs, self.description.output).reshape(len(pictures), -1)
        logits = self.description.logits
        return Seen(
            rows.astype(np.float32),
            None if logits is None else self._picked(outputs, logits).astype(np.float32),
        )

    def label(self, pictures: Pictures) -> Pictures:
        """Class indices (n, h, w)."""
        labels = self._picked(self._run(self._prepared(pictures)), self.description.output)
        if labels.ndim == 4:
            labels = labels.argmax(1)
        if labels.ndim != 3 or len(labels) != len(pictures):
            raise RequestError(f"{self.name} gave labels of shape {labels.shape}, not (n, h, w)")
        return labels.astype(np.uint8)

    def distances(self, a: Pictures, b: Pictures) -> Floats:
        """(n,)."""
        found = self._run(self._prepared(a), self._prepared(b))
        return self._picked(found, self.description.output).reshape(len(a)).astype(np.float32)

    def _prepared(self, pictures: Pictures) -> NDArray[Any]:
        given = self.description
        if given.size is not None:
            height, width = given.size
            pictures = resized(pictures, (int(height), int(width)), _FILTERS[given.filter])
        batch: NDArray[Any] = pictures
        if given.input == "float32":
            mean, std = np.array(given.mean, np.float32), np.array(given.std, np.float32)
            batch = (pictures.astype(np.float32) / 255 - mean) / std
        if given.layout == "nchw":
            batch = batch.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(batch)

    def _picked(self, outputs: Mapping[str | int, NDArray[Any]], name: str | int) -> NDArray[Any]:
        if name not in outputs:
            raise RequestError(f"{self.name} gives no output {name!r}; it gives {list(outputs)}")
        return outputs[name]


class _Onnx:
    """An ONNX graph on ONNX Runtime; outputs by name and by number."""

    def __init__(self, file: Path, device: str) -> None:
        import onnxruntime  # noqa: PLC0415 (one of several packages)

        providers = ["CPUExecutionProvider"]
        if device.startswith("cuda"):
            providers.insert(0, "CUDAExecutionProvider")
        self._session: Any = onnxruntime.InferenceSession(str(file), providers=providers)

    def __call__(self, *batches: NDArray[Any]) -> dict[str | int, NDArray[Any]]:
        names = [one.name for one in self._session.get_inputs()]
        given = self._session.run(None, dict(zip(names, batches, strict=True)))
        outputs = [one.name for one in self._session.get_outputs()]
        return {**dict(enumerate(given)), **dict(zip(outputs, given, strict=True))}


class _TorchScript:
    """A TorchScript module that gives a tensor, a sequence of them, or a dictionary."""

    def __init__(self, file: Path, device: str) -> None:
        self._module = torch.jit.load(str(file), map_location=device).eval()
        self._device = device

    @torch.no_grad()
    def __call__(self, *batches: NDArray[Any]) -> dict[str | int, NDArray[Any]]:
        given = self._module(*(torch.from_numpy(batch).to(self._device) for batch in batches))
        if isinstance(given, torch.Tensor):
            given = [given]
        items = given.items() if isinstance(given, dict) else enumerate(given)
        return {name: value.float().cpu().numpy() for name, value in items}


def _is_numbers(value: object, length: int) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == length
        and all(isinstance(one, (int, float)) for one in value)
    )
