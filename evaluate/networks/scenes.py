"""What ships: the segmenter of the procedural world. It knows nothing but that world's pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from fgdm.errors import RequestError
from fgdm.train.autoencoder import to_tensor
from fgdm.train.classes import CLASSES
from fgdm.train.segmenter import load_segmenter, segment

from .base import Pictures, Seen, resized

#: In the source folder, beside the bundle that it judges.
SHIPPED = Path("benchmarks/segmenter.safetensors")
#: Side of the pictures that it was trained on.
_SIDE = 128
_CPU = torch.device("cpu")


class ScenesSegmenter:
    """Labels of the world's classes, and as features the means of its 128 deepest channels."""

    name = "scenes segmenter"
    is_inception = False
    classes = tuple(entry.name for entry in CLASSES)

    def __init__(self, path: Path) -> None:
        """Raises RequestError for what is no file of its weights."""
        try:
            self._network = load_segmenter(path)
        except Exception as error:  # of safetensors and PyTorch
            raise RequestError(
                f"can't read the scenes segmenter in {path}: {error!s:.200}; give --segmenter "
                f"FILE, such as {SHIPPED} of the sources"
            ) from None

    def label(self, pictures: Pictures) -> Pictures:
        """(n, 64, 64) class indices."""
        return segment(self._network, resized(pictures, (_SIDE, _SIDE)), _CPU)

    @torch.no_grad()
    def see(self, pictures: Pictures) -> Seen:
        """(n, 128) features."""
        deepest: list[torch.Tensor] = []
        hook = self._network.fourth.register_forward_hook(
            lambda module, inputs, output: deepest.append(output.mean((2, 3)))
        )
        try:
            self._network(to_tensor(resized(pictures, (_SIDE, _SIDE)), _CPU))
        finally:
            hook.remove()
        return Seen(deepest[0].numpy().astype(np.float32))
