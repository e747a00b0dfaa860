"""Whether a picture shows what its map says, as a segmenter sees it."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fgdm.errors import RequestError
from fgdm.files import read_regular
from numpy.typing import NDArray
from PIL import Image

Labels = NDArray[np.uint8]
#: Class indices of the palette, uint8 (h, w) of any size, of a picture.
Segmenter = Callable[[Image.Image], Labels]

UNLABELED = 255
#: ONNX files end there, as all of protobuf does.
_MOST_GRAPH = 2**31


def ious(labels: Labels, seen: Labels) -> dict[int, float]:
    """The intersection over union of every class that either map holds, by index.

    labels: uint8 (h, w); its unlabeled pixels (255) don't count. seen: what a segmenter made of the
    picture, brought to that size by the nearest pixels.
    """
    size = (labels.shape[1], labels.shape[0])
    if seen.shape != labels.shape:
        seen = np.asarray(Image.fromarray(seen).resize(size, Image.Resampling.NEAREST))
    counted = labels != UNLABELED
    a, b = labels[counted].astype(np.intp), seen[counted].astype(np.intp)
    both = np.bincount(a[a == b], minlength=256)
    either = np.bincount(a, minlength=256) + np.bincount(b, minlength=256) - both
    either[UNLABELED] = 0
    return {int(label): float(both[label] / either[label]) for label in np.flatnonzero(either)}


def load_segmenter(name: str) -> Segmenter:
    """The segmenter of an ONNX file (docs/dataset.md has its form), or MODULE:FUNCTION.

    Raises RequestError where there is none.
    """
    if name.endswith(".onnx"):
        return _of_graph(name)
    module, _, function = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise RequestError(
            f"the segmenter is {name!r}, expected FILE.onnx or MODULE:FUNCTION of an importable "
            f"module: {error}"
        ) from None
    if not callable(found):
        raise RequestError(f"the segmenter is {name!r}, which isn't a function")
    return lambda picture: _checked(name, found(picture))


def segmenter_identity(name: str) -> str:
    """The SHA-256 of a graph's file, or a function's name. RequestError for a missing file."""
    if not name.endswith(".onnx"):
        return name
    try:
        return hashlib.sha256(read_regular(Path(name), _MOST_GRAPH)).hexdigest()
    except OSError as error:
        raise RequestError(f"can't read the segmenter {name}: {error}") from None


def _of_graph(name: str) -> Segmenter:
    try:
        import onnxruntime  # noqa: PLC0415 (only who gives a graph needs it)
    except ModuleNotFoundError:
        raise RequestError(
            f"the segmenter {name} needs onnxruntime; run: pip install 'fgdm[cpu]', or give "
            "MODULE:FUNCTION"
        ) from None
    try:
        session = onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes have no common root
        raise RequestError(f"can't load the segmenter {name}: {error}") from None
    (given, *others), outputs = session.get_inputs(), session.get_outputs()
    if others or len(given.shape) != 4 or given.shape[1] != 3:
        raise RequestError(
            f"the segmenter {name} must take one picture (1, 3, height, width), it takes "
            + ", ".join(f"{port.name} {port.shape}" for port in session.get_inputs())
        )
    height, width = (side if isinstance(side, int) else None for side in given.shape[2:])

    def segment(picture: Image.Image) -> Labels:
        size = (width or picture.width, height or picture.height)
        pixels = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BILINEAR))
        batch = (pixels.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
        scores = session.run([outputs[0].name], {given.name: np.ascontiguousarray(batch)})[0]
        if scores.ndim != 4 or len(scores) != 1 or not 1 <= scores.shape[1] <= UNLABELED:
            raise RequestError(
                f"the segmenter {name} returned {scores.shape}, expected (1, classes, h, w)"
            )
        return np.asarray(scores[0].argmax(0), np.uint8)

    return segment


def _checked(name: str, seen: object) -> Labels:
    found = np.asarray(seen)
    if found.dtype != np.uint8 or found.ndim != 2 or not found.size:
        raise RequestError(
            f"the segmenter {name} must return uint8 class indices (height, width), got "
            f"{found.dtype} of shape {found.shape}"
        )
    return found
