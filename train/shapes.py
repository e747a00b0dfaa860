"""What each thing looks like: a stack of primitives in the unit square, drawn back to front.

Coordinates are (u, v) in [-1, 1], v downwards, of the thing's own box; the box's typical width and
height are fractions of the picture. A colour is a fixed RGB triple or a key of the instance's
paint ("paint" is the colour that a caption may name).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Color = tuple[float, float, float] | Literal["paint", "paint2"]
Texture = Literal["plain", "noise", "columns", "rows", "bricks", "dots"]
Habitat = Literal["ground", "sky", "sea"]


@dataclass(frozen=True)
class Part:
    """One primitive.

    ``params``: ellipse (cx, cy, rx, ry); dome, its upper half, the same; box (x0, y0, x1, y1);
    triangle (3 × x, y).
    """

    kind: Literal["ellipse", "dome", "box", "triangle"]
    params: tuple[float, ...]
    color: Color
    texture: Texture = "plain"


@dataclass(frozen=True)
class Shape:
    """A thing: its box (width, height in picture fractions), where it lives, and its parts."""

    size: tuple[float, float]
    habitat: Habitat
    parts: tuple[Part, ...]
    paints: tuple[str, ...] = ()


PAINTS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.16, 0.15),
    "blue": (0.18, 0.33, 0.85),
    "yellow": (0.95, 0.82, 0.20),
    "green": (0.18, 0.62, 0.28),
    "white": (0.94, 0.94, 0.92),
    "purple": (0.55, 0.25, 0.70),
}
_BRIGHT = ("red", "blue", "yellow", "green", "purple")

_SKIN = (0.90, 0.72, 0.58)
_DARK = (0.13, 0.12, 0.14)
_GLASS = (0.62, 0.80, 0.90)
_WOOD = (0.50, 0.32, 0.18)
_DOG = (0.62, 0.42, 0.22)
_CAT = (0.38, 0.38, 0.42)


def _ellipse(cx: float, cy: float, rx: float, ry: float, c: Color, t: Texture = "plain") -> Part:
    return Part("ellipse", (cx, cy, rx, ry), c, t)


def _box(x0: float, y0: float, x1: float, y1: float, c: Color, t: Texture = "plain") -> Part:
    return Part("box", (x0, y0, x1, y1), c, t)


def _triangle(*p: float, c: Color, t: Texture = "plain") -> Part:
    return Part("triangle", p, c, t)


SHAPES: dict[str, Shape] = {
    "person": Shape(
        (0.15, 0.36),
        "ground",
        (
            _box(-0.42, 0.20, -0.06, 1.0, (0.16, 0.18, 0.32)),
            _box(0.06, 0.20, 0.42, 1.0, (0.16, 0.18, 0.32)),
            _box(-0.90, -0.42, -0.52, 0.22, _SKIN),
            _box(0.52, -0.42, 0.90, 0.22, _SKIN),
            _box(-0.56, -0.48, 0.56, 0.30, "paint", "rows"),
            _ellipse(0.0, -0.74, 0.46, 0.26, _SKIN),
            _ellipse(0.0, -0.90, 0.48, 0.12, (0.25, 0.15, 0.08)),
        ),
        _BRIGHT,
    ),
    "dog": Shape(
        (0.30, 0.22),
        "ground",
        (
            _box(-0.62, 0.20, -0.40, 1.0, _DOG),
            _box(0.30, 0.20, 0.52, 1.0, _DOG),
            _triangle(-0.72, 0.0, -1.0, -0.85, -0.55, -0.10, c=_DOG),
            _ellipse(-0.08, 0.08, 0.70, 0.42, _DOG, "noise"),
            _ellipse(0.66, -0.38, 0.34, 0.46, _DOG, "noise"),
            _ellipse(0.48, -0.40, 0.13, 0.48, (0.30, 0.18, 0.08)),
            _ellipse(0.88, -0.24, 0.12, 0.16, _DARK),
        ),
    ),
    "cat": Shape(
        (0.19, 0.28),
        "ground",
        (
            _ellipse(0.72, 0.35, 0.20, 0.60, _CAT, "rows"),
            _ellipse(0.0, 0.42, 0.66, 0.58, _CAT, "rows"),
            _triangle(-0.56, -0.35, -0.50, -1.0, -0.05, -0.60, c=_CAT),
            _triangle(0.56, -0.35, 0.50, -1.0, 0.05, -0.60, c=_CAT),
            _ellipse(0.0, -0.36, 0.56, 0.40, _CAT, "rows"),
            _ellipse(-0.22, -0.40, 0.10, 0.10, (0.60, 0.90, 0.30)),
            _ellipse(0.22, -0.40, 0.10, 0.10, (0.60, 0.90, 0.30)),
        ),
    ),
    "bird": Shape(
        (0.22, 0.15),
        "sky",
        (
            _triangle(-0.10, 0.20, -0.75, -1.0, 0.30, 0.05, c=(0.45, 0.30, 0.25)),
            _triangle(-0.60, 0.20, -1.0, 0.75, -0.40, 0.55, c=(0.35, 0.22, 0.20)),
            _ellipse(0.0, 0.36, 0.66, 0.40, (0.72, 0.36, 0.28), "noise"),
            _ellipse(0.58, 0.05, 0.28, 0.34, (0.72, 0.36, 0.28)),
            _triangle(0.80, -0.08, 1.0, 0.10, 0.80, 0.25, c=(0.95, 0.70, 0.10)),
        ),
    ),
    "car": Shape(
        (0.38, 0.20),
        "ground",
        (
            _box(-0.52, -1.0, 0.42, 0.0, "paint"),
            _box(-0.42, -0.82, -0.08, -0.08, _GLASS),
            _box(0.04, -0.82, 0.34, -0.08, _GLASS),
            _box(-1.0, -0.16, 1.0, 0.62, "paint"),
            _ellipse(-0.56, 0.62, 0.24, 0.38, _DARK),
            _ellipse(0.56, 0.62, 0.24, 0.38, _DARK),
            _box(0.86, -0.02, 1.0, 0.22, (0.98, 0.95, 0.55)),
        ),
        _BRIGHT,
    ),
    "bus": Shape(
        (0.40, 0.32),
        "ground",
        (
            _box(-1.0, -1.0, 1.0, 0.72, "paint"),
            _box(-0.88, -0.74, 0.88, -0.14, _GLASS, "columns"),
            _box(-1.0, 0.10, 1.0, 0.24, (0.95, 0.95, 0.95)),
            _ellipse(-0.56, 0.74, 0.18, 0.26, _DARK),
            _ellipse(0.56, 0.74, 0.18, 0.26, _DARK),
        ),
        ("red", "yellow", "green", "white"),
    ),
    "boat": Shape(
        (0.30, 0.28),
        "sea",
        (
            _box(-0.05, -1.0, 0.05, 0.45, _WOOD),
            _triangle(0.08, -0.92, 0.08, 0.32, 0.80, 0.32, c=(0.96, 0.94, 0.86)),
            _triangle(-0.08, -0.72, -0.08, 0.32, -0.62, 0.32, c=(0.90, 0.86, 0.74)),
            _box(-0.62, 0.42, 0.62, 1.0, "paint"),
            _triangle(-1.0, 0.42, -0.60, 0.42, -0.60, 1.0, c="paint"),
            _triangle(1.0, 0.42, 0.60, 0.42, 0.60, 1.0, c="paint"),
        ),
        ("red", "blue", "white", "green"),
    ),
    "house": Shape(
        (0.40, 0.40),
        "ground",
        (
            _box(0.42, -0.95, 0.62, -0.35, (0.45, 0.25, 0.20)),
            _box(-0.82, -0.20, 0.82, 1.0, "paint", "bricks"),
            _triangle(-1.0, -0.18, 0.0, -1.0, 1.0, -0.18, c=(0.58, 0.22, 0.16), t="rows"),
            _box(-0.20, 0.36, 0.18, 1.0, _WOOD),
            _box(-0.66, 0.06, -0.34, 0.46, _GLASS),
            _box(0.34, 0.06, 0.66, 0.46, _GLASS),
        ),
        ("white", "yellow", "blue", "red"),
    ),
    "tree": Shape(
        (0.30, 0.46),
        "ground",
        (
            _box(-0.16, 0.20, 0.16, 1.0, _WOOD, "columns"),
            _ellipse(-0.46, -0.10, 0.52, 0.42, (0.12, 0.44, 0.16), "noise"),
            _ellipse(0.46, -0.12, 0.52, 0.42, (0.15, 0.48, 0.18), "noise"),
            _ellipse(0.0, -0.46, 0.62, 0.52, (0.18, 0.54, 0.20), "noise"),
        ),
    ),
    "bench": Shape(
        (0.34, 0.18),
        "ground",
        (
            _box(-0.86, 0.10, -0.68, 1.0, (0.25, 0.25, 0.27)),
            _box(0.68, 0.10, 0.86, 1.0, (0.25, 0.25, 0.27)),
            _box(-1.0, -1.0, 1.0, -0.25, (0.60, 0.38, 0.20), "rows"),
            _box(-1.0, -0.10, 1.0, 0.38, (0.52, 0.32, 0.16), "rows"),
        ),
    ),
    "ball": Shape(
        (0.16, 0.16),
        "ground",
        (
            _ellipse(0.0, 0.0, 1.0, 1.0, "paint"),
            _ellipse(0.0, 0.0, 0.36, 0.98, (0.96, 0.96, 0.94)),
            _ellipse(-0.34, -0.42, 0.16, 0.16, (1.0, 1.0, 1.0)),
        ),
        _BRIGHT,
    ),
    "umbrella": Shape(
        (0.30, 0.34),
        "ground",
        (
            _box(-0.07, -0.10, 0.07, 1.0, (0.35, 0.30, 0.28)),
            Part("dome", (0.0, -0.02, 1.0, 0.98), "paint", "columns"),
            _box(0.06, 0.84, 0.24, 1.0, (0.35, 0.30, 0.28)),
        ),
        _BRIGHT,
    ),
    "kite": Shape(
        (0.17, 0.26),
        "sky",
        (
            _triangle(-0.90, -0.30, 0.0, -1.0, 0.90, -0.30, c="paint"),
            _triangle(-0.90, -0.30, 0.0, 0.56, 0.90, -0.30, c="paint2"),
            _triangle(-0.36, 0.70, 0.0, 0.52, 0.36, 0.70, c="paint"),
            _triangle(-0.36, 1.0, 0.0, 0.76, 0.36, 1.0, c="paint2"),
        ),
        _BRIGHT,
    ),
    "sun": Shape(
        (0.20, 0.20),
        "sky",
        (
            _triangle(-0.40, 0.0, 0.0, -1.0, 0.40, 0.0, c=(1.0, 0.70, 0.15)),
            _triangle(-0.40, 0.0, 0.0, 1.0, 0.40, 0.0, c=(1.0, 0.70, 0.15)),
            _triangle(0.0, -0.40, -1.0, 0.0, 0.0, 0.40, c=(1.0, 0.70, 0.15)),
            _triangle(0.0, -0.40, 1.0, 0.0, 0.0, 0.40, c=(1.0, 0.70, 0.15)),
            _ellipse(0.0, 0.0, 0.66, 0.66, (1.0, 0.88, 0.30)),
        ),
    ),
    "cloud": Shape(
        (0.34, 0.17),
        "sky",
        (
            _ellipse(-0.54, 0.30, 0.46, 0.60, (0.93, 0.94, 0.96), "noise"),
            _ellipse(0.54, 0.34, 0.46, 0.58, (0.93, 0.94, 0.96), "noise"),
            _ellipse(0.02, -0.10, 0.56, 0.86, (0.97, 0.97, 0.98), "noise"),
        ),
    ),
    "flower": Shape(
        (0.14, 0.22),
        "ground",
        (
            _box(-0.12, 0.0, 0.12, 1.0, (0.16, 0.50, 0.16)),
            _ellipse(0.42, 0.52, 0.40, 0.16, (0.18, 0.56, 0.20)),
            _ellipse(-0.56, -0.44, 0.44, 0.30, "paint"),
            _ellipse(0.56, -0.44, 0.44, 0.30, "paint"),
            _ellipse(0.0, -0.72, 0.44, 0.28, "paint"),
            _ellipse(0.0, -0.14, 0.44, 0.28, "paint"),
            _ellipse(0.0, -0.44, 0.30, 0.20, (0.98, 0.84, 0.20)),
        ),
        ("red", "purple", "white", "yellow"),
    ),
}
