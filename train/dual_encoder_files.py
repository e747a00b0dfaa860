"""The folder that a dual encoder's run writes, and what compares by it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fgdm import extras

if TYPE_CHECKING:
    from fgdm.scorers import DualEncoderScorer

WEIGHTS = "dual_encoder.safetensors"
IMAGE_ENCODER, TEXT_ENCODER, TOKENIZER = "image_encoder.onnx", "text_encoder.onnx", "tokenizer"


def open_scorer(folder: Path, threshold: float = 0.0) -> DualEncoderScorer:
    """threshold: the cosine from which on a picture passes. Raises as DualEncoderScorer does, and
    BackendError without ONNX Runtime for Python."""
    scorers = extras.load("fgdm.scorers", "cpu")
    opened: DualEncoderScorer = scorers.DualEncoderScorer(
        folder / IMAGE_ENCODER, folder / TEXT_ENCODER, folder / TOKENIZER, threshold=threshold
    )
    return opened
