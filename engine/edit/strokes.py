"""Strokes with hard edges: brush, line, polygon."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from fgdm.errors import RequestError

from .regions import Labels, Mask, checked, checked_label

Point = tuple[float, float]


def stroke(labels: Labels, points: Sequence[Point], radius: float, label: int) -> Labels:
    """The map with every pixel in a class whose centre is at most `radius` from the path.

    points: the path's corners; one is a dot.
    """
    path = _path(points, 1)
    if not (math.isfinite(radius) and radius > 0):
        raise RequestError(f"a brush has a radius above 0 pixels, got {radius}")
    drawn: Labels = checked(labels).copy()
    for i in range(max(1, len(path) - 1)):
        _segment(drawn, path[i], path[min(i + 1, len(path) - 1)], radius, checked_label(label))
    return drawn


def _segment(labels: Labels, start: Point, end: Point, radius: float, label: int) -> None:
    height, width = labels.shape
    (x0, y0), (x1, y1) = start, end
    left, right = _span(min(x0, x1) - radius, max(x0, x1) + radius, width)
    top, bottom = _span(min(y0, y1) - radius, max(y0, y1) + radius, height)
    dx, dy = x1 - x0, y1 - y0
    length = dx * dx + dy * dy
    x = np.arange(left, right)[None, :] + 0.5 - x0
    y = np.arange(top, bottom)[:, None] + 0.5 - y0
    along = np.clip((x * dx + y * dy) / length, 0.0, 1.0) if length else np.float64(0.0)
    off_x, off_y = x - along * dx, y - along * dy
    labels[top:bottom, left:right][off_x * off_x + off_y * off_y <= radius * radius] = label


def _span(low: float, high: float, size: int) -> tuple[int, int]:
    return max(0, math.floor(low)), min(size, math.ceil(high))


def polygon_mask(shape: tuple[int, int], points: Sequence[Point]) -> Mask:
    """The pixels whose centres are inside a polygon, by the even-odd rule. shape: height, width."""
    path = _path(points, 3)
    height, width = shape
    x = np.arange(width)[None, :] + 0.5
    y = np.arange(height)[:, None] + 0.5
    inside = np.zeros(shape, dtype=np.bool_)
    for (x0, y0), (x1, y1) in zip(path, path[1:] + path[:1], strict=True):
        if y0 != y1:
            crosses = (y0 <= y) != (y1 <= y)
            inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def polygon(labels: Labels, points: Sequence[Point], label: int) -> Labels:
    """The map with a filled polygon of a class."""
    height, width = checked(labels).shape
    drawn: Labels = labels.copy()
    drawn[polygon_mask((height, width), points)] = checked_label(label)
    return drawn


def _path(points: Sequence[Point], least: int) -> list[Point]:
    path = [(float(x), float(y)) for x, y in points]
    if len(path) < least or not all(math.isfinite(value) for point in path for value in point):
        raise RequestError(f"expected at least {least} finite points, got {points!r:.60}")
    return path
