"""Scorers of the user's own: a Python function of a picture and its prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from fgdm.cli.arguments import load_function
from fgdm.errors import RequestError
from PIL import Image

from .base import Floats, Pictures


class FunctionScorer:
    """Calls the function with a PIL picture and its prompt; what it returns is the score."""

    def __init__(self, name: str) -> None:
        """name: MODULE:FUNCTION. RequestError if there is none."""
        self.name = name
        self._function = load_function("--scorer", name)

    def score(self, pictures: Pictures, texts: Sequence[str]) -> Floats:
        """(n,). RequestError where the function returns no finite number."""
        scores = [
            self._function(Image.fromarray(picture), text)
            for picture, text in zip(pictures, texts, strict=True)
        ]
        for score, text in zip(scores, texts, strict=True):
            if not isinstance(score, (int, float, np.number)) or not math.isfinite(score):
                raise RequestError(
                    f"{self.name} returned {score!r:.80} for {text!r:.80}; expected a finite number"
                )
        return np.array(scores, np.float32)
