"""Scorers of pictures: whether what was painted is what was asked for.

A scorer is any function of a picture, its prompt and its requirements that returns a Score
(fgdm.repaint). The two here run ONNX graphs of yours with Python's onnxruntime (fgdm[cpu]).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
from fgdm import _core
from fgdm.compliance import check_map
from fgdm.errors import BackendError, RequestError
from fgdm.requirements import Requirements
from PIL import Image

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Score:
    """What a scorer says of a picture.

    value: the larger, the better. passed: whether it is good enough. unmet, met: the requirements
    that it lacks, and those that it meets, in words, if the scorer can tell.
    """

    value: float
    passed: bool
    unmet: tuple[str, ...] = ()
    met: tuple[str, ...] = ()


class PictureScorer(Protocol):
    """A function that scores a picture. requirements: as ``Engine.submit`` takes them."""

    def __call__(self, image: Image.Image, prompt: str, requirements: Requirements) -> Score: ...


class SegmenterScorer:
    """Segments the picture, and checks the labels as a map is checked (docs/compliance.md).

    model: an ONNX file, or its bytes, with one input, float32 (1, 3, h, w), RGB, and one output,
    float32 (1, classes, h', w'), the scores of the palette's classes in their order.
    palette: ``Engine.palette``. mean, std: of each channel, by which pictures of 0 to 1 are
    normalized; by default they become -1 to 1. threshold: the compliance, 0 to 1, from which on a
    picture passes. min_area, opening: as in ``fgdm.check_map``. threads: 0 is the runtime's own.

    The score is the compliance. Raises BackendError for a model that can't be loaded or run, or
    whose classes aren't as many as the palette's.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes,
        palette: Mapping[str, Any],
        *,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
        threshold: float = 1.0,
        min_area: float = 0.002,
        opening: int = 0,
        threads: int = 0,
    ) -> None:
        self._session = _session(model, threads)
        self._palette = palette
        self._mean, self._std = mean, std
        self._threshold, self._min_area, self._opening = threshold, min_area, opening

    def labels(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """The picture's classes, uint8 (h', w')."""
        pixels = _pixels(self._session, image, self._mean, self._std)
        scores = _run(self._session, {self._session.get_inputs()[0].name: pixels})[0]
        classes = len(self._palette["classes"])
        if scores.ndim != 4 or scores.shape[1] != classes:
            raise BackendError(
                f"the segmenter's output has shape {scores.shape}, expected (1, {classes}, height, "
                "width): a score for each class of the palette"
            )
        labels: npt.NDArray[np.uint8] = scores[0].argmax(0).astype(np.uint8)
        return labels

    def __call__(self, image: Image.Image, prompt: str, requirements: Requirements) -> Score:
        found = check_map(
            self.labels(image),
            requirements,
            self._palette,
            min_area=self._min_area,
            opening=self._opening,
        )
        pairs = zip(found.requirements, found.met, strict=True)
        met = tuple(one.text for one, holds in pairs if holds)
        return Score(found.compliance, found.compliance >= self._threshold, found.unmet, met)


class DualEncoderScorer:
    """Compares the picture with the prompt, as CLIP does: the cosine of their embeddings.

    image_model: an ONNX file whose first input is pixel_values, float32 (1, 3, h, w); text_model:
    one with input_ids, int64 or int32 (1, length), and perhaps attention_mask likewise. Of each the
    output image_embeds or text_embeds is taken, else the first of shape (1, size). tokenizer: a
    folder with CLIP's vocab.json and merges.txt, such as a bundle's ``tokenizer``. threshold: the
    cosine from which on a picture passes; it depends on the model, so there is no default.
    mean, std: of each channel, CLIP's own by default. length: of the text in tokens.

    Raises BackendError for models that can't be loaded or run, or whose embeddings aren't as long.
    """

    def __init__(
        self,
        image_model: str | os.PathLike[str],
        text_model: str | os.PathLike[str],
        tokenizer: str | os.PathLike[str],
        *,
        threshold: float,
        mean: Sequence[float] = (0.48145466, 0.4578275, 0.40821073),
        std: Sequence[float] = (0.26862954, 0.26130258, 0.27577711),
        length: int = 77,
    ) -> None:
        self._image, self._text = _session(image_model), _session(text_model)
        self._tokenizer = _core.Tokenizer(os.fspath(tokenizer), length)
        self._threshold, self._mean, self._std = threshold, mean, std

    def __call__(self, image: Image.Image, prompt: str, requirements: Requirements) -> Score:
        value = self.cosine(image, prompt)
        return Score(value, value >= self._threshold)

    def embed_image(self, image: Image.Image) -> Floats:
        """The picture's embedding, (size,), as its model gives it."""
        pixels = _pixels(self._image, image, self._mean, self._std)
        return _embedding(self._image, {self._image.get_inputs()[0].name: pixels})

    def embed_text(self, text: str) -> Floats:
        """The text's embedding, (size,), as its model gives it."""
        return _embedding(self._text, self._tokens(text))

    def cosine(self, image: Image.Image, text: str) -> float:
        """Between both embeddings, -1 to 1; 0 if one of them has no length."""
        of_image, of_text = self.embed_image(image), self.embed_text(text)
        if of_image.shape != of_text.shape:
            raise BackendError(
                f"the picture's embedding has {of_image.size} numbers, the text's {of_text.size}; "
                "expected two encoders of one model"
            )
        lengths = float(np.linalg.norm(of_image)) * float(np.linalg.norm(of_text))
        return float(of_image @ of_text) / lengths if lengths > 0.0 else 0.0

    def _tokens(self, prompt: str) -> dict[str, npt.NDArray[Any]]:
        ids = np.asarray([self._tokenizer.encode(prompt)])
        feeds = {}
        for taken in self._text.get_inputs():
            kind = np.int32 if taken.type == "tensor(int32)" else np.int64
            given = np.ones_like(ids) if taken.name == "attention_mask" else ids
            feeds[taken.name] = given.astype(kind)
        return feeds


def _session(model: str | os.PathLike[str] | bytes, threads: int = 0) -> Any:
    opened = model if isinstance(model, bytes) else os.fspath(model)
    name = "the model in memory" if isinstance(model, bytes) else str(opened)
    if isinstance(opened, str) and not Path(opened).is_file():
        raise RequestError(f"there is no model {name!r:.300}; expected an ONNX file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(opened, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own have no common class
        raise BackendError(f"can't load {name}: {error!s:.300}") from None


def _run(session: Any, feeds: Mapping[str, npt.NDArray[Any]]) -> list[Floats]:
    try:
        outputs: list[Floats] = session.run(None, dict(feeds))
    except Exception as error:
        raise BackendError(f"the scorer's model failed: {error!s:.300}") from None
    return outputs


def _pixels(
    session: Any, image: Image.Image, mean: Sequence[float], std: Sequence[float]
) -> Floats:
    """The picture as the model takes it: resized if its input has a size."""
    shape = session.get_inputs()[0].shape
    if len(shape) != 4:
        raise BackendError(f"the model's input has shape {shape}, expected (1, 3, height, width)")
    height, width = (
        size if isinstance(size, int) else own
        for size, own in zip(shape[2:], (image.height, image.width), strict=True)
    )
    resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    values = np.asarray(resized, np.float32) / 255.0
    normalized = (values - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(normalized.transpose(2, 0, 1)[None], dtype=np.float32)


def _embedding(session: Any, feeds: Mapping[str, npt.NDArray[Any]]) -> Floats:
    """(size,): the named output, else the first of two dimensions."""
    outputs = dict(
        zip((one.name for one in session.get_outputs()), _run(session, feeds), strict=True)
    )
    for name in ("image_embeds", "text_embeds"):
        if name in outputs:
            named: Floats = outputs[name].reshape(-1)
            return named
    for value in outputs.values():
        if value.ndim == 2 and len(value) == 1:
            first: Floats = value[0]
            return first
    raise BackendError(f"the encoder has the outputs {list(outputs)}, none of shape (1, size)")
