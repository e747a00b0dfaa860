"""Pictures that made ones should be like: a folder of the user's, or scenes of the world."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from fgdm.errors import RequestError
from fgdm.train.classes import CLASSES
from fgdm.train.dataset import render_scenes
from numpy.typing import NDArray
from PIL import Image

from .networks.base import Pictures

#: Of the first scene: far from every training set's, from the held-out prompts' and from others'.
FIRST_SCENE = 7_000_000
_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
_COLORS = np.zeros((256, 3), np.uint8)
_COLORS[: len(CLASSES)] = [entry.color for entry in CLASSES]


class Reference(Protocol):
    """name: for tables. count: of its pictures."""

    @property
    def name(self) -> str: ...

    @property
    def count(self) -> int: ...

    def batches(self, size: int) -> Iterator[Pictures]:
        """Pictures (n, H, W, 3) of one size, n at most `size`."""
        ...


@dataclass(frozen=True)
class PictureFolder:
    """All pictures below a folder, in the order of their names."""

    path: Path

    @property
    def name(self) -> str:
        return f"{self.count} pictures in {self.path.resolve().name}"

    @property
    def count(self) -> int:
        return len(self._files())

    def batches(self, size: int) -> Iterator[Pictures]:
        """RequestError for a folder without pictures, or one that can't be read."""
        batch: list[NDArray[np.uint8]] = []
        for path in self._files():
            try:
                with Image.open(path) as picture:
                    pixels = np.asarray(picture.convert("RGB"))
            except OSError as error:
                raise RequestError(f"can't read the reference picture {path}: {error}") from None
            if batch and (len(batch) == size or batch[0].shape != pixels.shape):
                yield np.stack(batch)
                batch = []
            batch.append(pixels)
        yield np.stack(batch)

    def _files(self) -> list[Path]:
        found = sorted(p for p in self.path.rglob("*") if p.suffix.lower() in _SUFFIXES)
        if not found:
            raise RequestError(f"{self.path} holds no picture ({', '.join(sorted(_SUFFIXES))})")
        return found


@dataclass(frozen=True)
class WorldScenes:
    """Rendered scenes of the procedural world, or their label maps in the palette's colours.

    side: of a picture in pixels.
    """

    count: int
    side: int
    maps: bool = False

    @property
    def name(self) -> str:
        return f"{self.count} {'maps' if self.maps else 'pictures'} of scenes of the world"

    def batches(self, size: int) -> Iterator[Pictures]:
        """The same scenes always; the i-th map is the i-th picture's."""
        for start in range(0, self.count, size):
            number = min(size, self.count - start)
            scenes = render_scenes(FIRST_SCENE + start, number, self.side, self.side)
            yield _COLORS[scenes.labels] if self.maps else scenes.images
