"""Judges pictures by the bundle's own segmenter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fgdm import edit

if TYPE_CHECKING:
    from fgdm.engine import Engine
    from PIL import Image


class SegmenterJudge:
    """The recall of a picture: of the requested classes, those that the segmenter sees in it."""

    def __init__(self, engine: Engine) -> None:
        """Raises RequestError where the bundle has no segmenter."""
        engine.need_segmenter("judge pictures; give --judge psnr or a function of yours")
        self._engine = engine
        self._index = {name: index for index, name in enumerate(engine.classes)}

    def __call__(self, picture: Image.Image, classes: Sequence[str]) -> float:
        labels = self._engine.segment(picture)
        wanted = [self._index[name] for name in classes]
        return edit.measure(labels, wanted).recall
