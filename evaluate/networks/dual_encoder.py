"""What ships: the dual encoder of the procedural world, which compares as CLIP does but knows that
world's pictures and captions only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from fgdm.errors import BackendError, BundleError, RequestError
from fgdm.train.dual_encoder_files import open_scorer
from PIL import Image

from .base import Floats, Pictures

if TYPE_CHECKING:
    from fgdm.scorers import DualEncoderScorer

#: In the source folder, beside the segmenter.
SHIPPED = Path("benchmarks/dual_encoder")


class DualEncoderScore:
    """100 times the cosine of a picture's and its prompt's embedding. It is no CLIP score."""

    name = "CLIP-like score (scenes dual encoder)"

    def __init__(self, folder: Path) -> None:
        """Raises RequestError for what is no folder of its graphs."""
        self._scorer = _opened(folder)

    def score(self, pictures: Pictures, texts: Sequence[str]) -> Floats:
        """(n,), -100 to 100."""
        cosines = [
            self._scorer.cosine(Image.fromarray(picture), text)
            for picture, text in zip(pictures, texts, strict=True)
        ]
        return 100 * np.array(cosines, np.float32)


class DualEncoderTexts:
    """The embeddings that it compares with pictures'."""

    name = "scenes dual encoder"

    def __init__(self, folder: Path) -> None:
        """Raises RequestError for what is no folder of its graphs."""
        self._scorer = _opened(folder)

    def embed(self, texts: Sequence[str]) -> Floats:
        """(n, 256); the end of a prompt that is too long isn't read."""
        return np.stack([self._scorer.embed_text(text) for text in texts])


def _opened(folder: Path) -> DualEncoderScorer:
    try:
        return open_scorer(folder)
    except (RequestError, BackendError, BundleError) as error:
        raise RequestError(
            f"can't read a dual encoder in {folder}: {error!s:.200}; expected the folder that "
            f"`python -m fgdm.train dual-encoder` writes, such as {SHIPPED} of the sources"
        ) from None
