"""Maps from pictures in a palette's colours, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fgdm.errors import RequestError
from numpy.typing import NDArray

from .regions import UNLABELED, Labels, checked

Color = tuple[int, int, int]


def from_picture(
    picture: NDArray[np.uint8], colors: Sequence[Color], tolerance: int = 28
) -> Labels:
    """The nearest colour's index for each pixel: in L infinity, ties to the smaller L1, then to
    the lower index. UNLABELED where none lies within the tolerance.

    picture: uint8 (height, width, 3). tolerance: 0 to 255, per channel; a bundle's palette says it.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise RequestError(
            f"a picture must be uint8 (height, width, 3), got {picture.dtype} of shape "
            f"{picture.shape}"
        )
    given, places = np.unique(picture.reshape(-1, 3), axis=0, return_inverse=True)
    best = np.full(len(given), 1024 * (tolerance + 1), dtype=np.int32)
    labels = np.full(len(given), UNLABELED, dtype=np.uint8)
    for index, color in enumerate(colors):
        off = np.abs(given.astype(np.int32) - np.array(color, dtype=np.int32))
        distance = 1024 * off.max(1) + off.sum(1)  # L1 is below 1024
        nearer = (off.max(1) <= tolerance) & (distance < best)
        best[nearer] = distance[nearer]
        labels[nearer] = index
    return labels[places.reshape(-1)].reshape(picture.shape[:2])


def to_picture(labels: Labels, colors: Sequence[Color]) -> NDArray[np.uint8]:
    """A picture in exactly the palette's colours, uint8 (height, width, 3).

    RequestError for a class that the palette doesn't have, UNLABELED included: a picture has no
    colour for it.
    """
    largest = int(checked(labels).max())
    if largest >= len(colors):
        raise RequestError(f"the map has class {largest}; the palette has {len(colors)} colours")
    return np.array(colors, dtype=np.uint8)[labels]
