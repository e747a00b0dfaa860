"""Pieces cut out of maps: moved, resized, flipped, rotated, put into the same map or another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from fgdm.errors import RequestError

from .regions import Labels, Mask, bounds, checked, checked_mask, erase

#: Keeps what rounding left a hair below a whole pixel on the right side of it.
_HAIR = 1e-9


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a map in its box. labels: (height, width). mask: which pixels belong to it."""

    labels: Labels
    mask: Mask


def lift(labels: Labels, mask: Mask) -> tuple[Piece, int, int]:
    """What a mask covers, and the x and y of its box. RequestError for an empty mask."""
    x, y, width, height = bounds(checked_mask(labels, mask))
    box = slice(y, y + height), slice(x, x + width)
    return Piece(labels[box].copy(), mask[box].copy()), x, y


def paste(labels: Labels, piece: Piece, x: int, y: int) -> Labels:
    """The map with a piece's box at (x, y), which may lie partly or wholly outside."""
    pasted: Labels = checked(labels).copy()
    height, width = pasted.shape
    rows, columns = piece.mask.shape
    top, bottom = max(0, y), min(height, y + rows)
    left, right = max(0, x), min(width, x + columns)
    if top < bottom and left < right:
        part = slice(top - y, bottom - y), slice(left - x, right - x)
        target = pasted[top:bottom, left:right]
        target[piece.mask[part]] = piece.labels[part][piece.mask[part]]
    return pasted


def move(labels: Labels, mask: Mask, dx: int, dy: int, label: int | None = None) -> Labels:
    """The map with what a mask covers so many pixels further; `erase` says what is left behind."""
    piece, x, y = lift(labels, mask)
    return paste(erase(labels, mask, label), piece, x + dx, y + dy)


def duplicate(labels: Labels, mask: Mask, dx: int, dy: int) -> Labels:
    """The map with what a mask covers, and the same once more so many pixels further."""
    piece, x, y = lift(labels, mask)
    return paste(labels, piece, x + dx, y + dy)


def resized(piece: Piece, width: int, height: int) -> Piece:
    """The piece at another size: each pixel is the one that its centre falls on."""
    if width < 1 or height < 1:
        raise RequestError(f"a piece has sides of at least 1 pixel, got {width}x{height}")
    rows, columns = piece.mask.shape
    y = (np.arange(height) + 0.5) * rows / height
    x = (np.arange(width) + 0.5) * columns / width
    taken = np.ix_(y.astype(int), x.astype(int))
    return Piece(piece.labels[taken], piece.mask[taken])


def flipped(piece: Piece, direction: str = "horizontal") -> Piece:
    """The piece's mirror image. direction: "horizontal" swaps left and right, "vertical" top and
    bottom."""
    if direction not in ("horizontal", "vertical"):
        raise RequestError(f'a flip is "horizontal" or "vertical", got {direction!r:.40}')
    axis = 1 if direction == "horizontal" else 0
    return Piece(np.flip(piece.labels, axis).copy(), np.flip(piece.mask, axis).copy())


def rotated(piece: Piece, degrees: float) -> Piece:
    """The piece turned clockwise about its middle, in a box that holds all of it.

    Each pixel is the one that its centre falls on when it is turned back; by multiples of 90
    degrees nothing is lost.
    """
    if not math.isfinite(degrees):
        raise RequestError(f"an angle is a number of degrees, got {degrees}")
    degrees %= 360
    if degrees % 90 == 0:
        quarters = -int(degrees // 90)
        return Piece(np.rot90(piece.labels, quarters).copy(), np.rot90(piece.mask, quarters).copy())
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rows, columns = piece.mask.shape
    width = math.ceil(columns * abs(cos) + rows * abs(sin) - _HAIR)
    height = math.ceil(columns * abs(sin) + rows * abs(cos) - _HAIR)
    dx = np.arange(width)[None, :] + 0.5 - width / 2
    dy = np.arange(height)[:, None] + 0.5 - height / 2
    x = np.floor(dx * cos + dy * sin + columns / 2 + _HAIR).astype(int)
    y = np.floor(dy * cos - dx * sin + rows / 2 + _HAIR).astype(int)
    inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    x, y = np.where(inside, x, 0), np.where(inside, y, 0)
    return Piece(piece.labels[y, x], piece.mask[y, x] & inside)
