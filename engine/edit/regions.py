"""Regions of a map: connected pixels of one class, and what they can be filled with."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from fgdm.errors import RequestError
from numpy.typing import NDArray

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

#: The index of pixels that have no class.
UNLABELED = 255


def checked(labels: Labels) -> Labels:
    """The map. RequestError unless it is uint8 (height, width) with at least a pixel."""
    if labels.dtype != np.uint8 or labels.ndim != 2 or not labels.size:
        raise RequestError(
            f"a map must be uint8 (height, width), got {labels.dtype} of shape {labels.shape}"
        )
    return labels


def checked_mask(labels: Labels, mask: Mask) -> Mask:
    """The mask. RequestError unless it is bool of the map's shape."""
    if mask.dtype != np.bool_ or mask.shape != checked(labels).shape:
        raise RequestError(
            f"a mask must be bool of the map's shape {labels.shape}, got {mask.dtype} of shape "
            f"{mask.shape}"
        )
    return mask


def checked_label(label: int) -> int:
    """The class index. RequestError unless it is 0 to 255."""
    if not 0 <= label <= 255:
        raise RequestError(f"a class is 0 to 254, or {UNLABELED} for none, got {label}")
    return label


def region_at(labels: Labels, x: int, y: int) -> Mask:
    """The pixels of one class that are connected, by their sides, with the pixel at (x, y).

    RequestError for a pixel outside the map.
    """
    height, width = checked(labels).shape
    if not (0 <= x < width and 0 <= y < height):
        raise RequestError(f"({x}, {y}) is outside the map of {width}x{height} pixels")
    same: Mask = labels == labels[y, x]
    region: Mask = np.zeros(same.shape, np.bool_)
    waiting = [(y, x)]
    while waiting:
        row, column = waiting.pop()
        if region[row, column]:
            continue
        left = column
        while left > 0 and same[row, left - 1]:
            left -= 1
        right = column
        while right + 1 < width and same[row, right + 1]:
            right += 1
        region[row, left : right + 1] = True
        for other in (row - 1, row + 1):
            if 0 <= other < height:
                open_ = same[other, left : right + 1] & ~region[other, left : right + 1]
                starts = np.flatnonzero(open_ & ~np.concatenate(([False], open_[:-1])))
                waiting.extend((other, left + int(start)) for start in starts)
    return region


def components(labels: Labels, label: int) -> list[Mask]:
    """The connected regions of a class, in the order of their first pixels, row by row."""
    left = checked(labels) == checked_label(label)
    found = []
    while left.any():
        y, x = np.unravel_index(int(left.argmax()), left.shape)
        region = region_at(labels, int(x), int(y))
        left &= ~region
        found.append(region)
    return found


def bounds(mask: Mask) -> tuple[int, int, int, int]:
    """x, y, width and height of the smallest box around a mask. RequestError for an empty one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        raise RequestError("the mask is empty; select a region first")
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y


def erase(labels: Labels, mask: Mask, label: int | None = None) -> Labels:
    """The map with a class in place of what the mask covers.

    Without a class the surroundings grow into it: pass by pixel-wide pass, every pixel takes the
    class of a neighbour outside, of the one above, else left, right, below. A mask that covers the
    whole map leaves UNLABELED.
    """
    erased: Labels = checked(labels).copy()
    open_ = checked_mask(labels, mask).copy()
    if label is not None:
        erased[open_] = checked_label(label)
        return erased
    if open_.all():
        erased[:] = UNLABELED
        return erased
    while open_.any():
        known = np.pad(~open_, 1)
        classes = np.pad(erased, 1)
        grown = np.zeros_like(open_)
        # The last one written wins, so the order is that of preference from its end.
        for rows, columns in ((2, 1), (1, 2), (1, 0), (0, 1)):
            window = (
                slice(rows, rows + open_.shape[0]),
                slice(columns, columns + open_.shape[1]),
            )
            taken = open_ & known[window]
            erased[taken] = classes[window][taken]
            grown |= taken
        open_ &= ~grown
    return erased


def flood(labels: Labels, x: int, y: int, label: int) -> Labels:
    """The map with a class in place of the region at (x, y)."""
    return erase(labels, region_at(labels, x, y), checked_label(label))


def recolor(labels: Labels, old: int, new: int) -> Labels:
    """The map with one class in place of another, wherever that is."""
    return erase(labels, checked(labels) == checked_label(old), checked_label(new))


def replace_background(labels: Labels, source: Labels, things: Iterable[int]) -> Labels:
    """The things of one map before the background of another of the same size.

    things: the classes that stay. Those of the source give way to their surroundings.
    """
    if checked(source).shape != checked(labels).shape:
        raise RequestError(
            f"the other map has the shape {source.shape}; expected this one's, {labels.shape}"
        )
    kept = np.array(sorted({checked_label(thing) for thing in things}), dtype=np.uint8)
    background = erase(source, np.isin(source, kept))
    joined: Labels = np.where(np.isin(labels, kept), labels, background)
    return joined
