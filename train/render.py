"""Draws a `Scene`: the picture, its label map, depth and normals, at any square resolution."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .classes import CLASSES, INDEX
from .shapes import SHAPES, Part, Texture
from .world import Instance, Scene, paint_rgb

Array = NDArray[np.floating[Any]]
_NOISE_SIZE = 256
_GROUND_COLORS = {
    "grass": ((0.36, 0.62, 0.24), (0.24, 0.48, 0.16)),
    "sand": ((0.90, 0.80, 0.58), (0.82, 0.70, 0.46)),
    "road": ((0.50, 0.50, 0.52), (0.38, 0.38, 0.40)),
    "snow": ((0.93, 0.95, 0.98), (0.84, 0.88, 0.94)),
}


@dataclass(frozen=True)
class Rendering:
    """What a camera and three perfect sensors see.

    image: (S, S, 3) uint8, sRGB. labels: (S, S) uint8 class indices.
    depth: (S, S) float32, 0 nearest to 1 farthest. normals: (S, S, 3) float32 unit vectors,
    x right, y down, z towards the camera.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    depth: Array
    normals: Array


@lru_cache(maxsize=1)
def _noise() -> Array:
    """A tileable field of smooth noise in [-1, 1], shared by every texture."""
    rng = np.random.default_rng(20240607)
    field: Array = np.zeros((_NOISE_SIZE, _NOISE_SIZE), np.float32)
    for octave, weight in ((4, 0.5), (16, 0.7), (64, 0.8)):
        coarse = rng.standard_normal((octave, octave)).astype(np.float32)
        field += weight * np.kron(coarse, np.ones((_NOISE_SIZE // octave,) * 2, np.float32))
    for axis in (0, 1):  # soften the blocks
        field = (np.roll(field, 1, axis) + 2 * field + np.roll(field, -1, axis)) / 4
    return np.asarray(field / np.abs(field).max(), dtype=np.float32)


def _signed_distance(part: Part, u: Array, v: Array, half_w: float, half_h: float) -> Array:
    """Approximate distance to the primitive's edge in picture fractions, negative inside."""
    p = part.params
    if part.kind in ("ellipse", "dome"):
        cx, cy, rx, ry = p
        radius = np.sqrt(((u - cx) / rx) ** 2 + ((v - cy) / ry) ** 2)
        distance = (radius - 1.0) * min(rx * half_w, ry * half_h)
        if part.kind == "dome":
            distance = np.maximum(distance, (v - cy) * half_h)
        return np.asarray(distance, np.float32)
    if part.kind == "box":
        x0, y0, x1, y1 = p
        dx = (np.abs(u - (x0 + x1) / 2) - (x1 - x0) / 2) * half_w
        dy = (np.abs(v - (y0 + y1) / 2) - (y1 - y0) / 2) * half_h
        return np.asarray(np.maximum(dx, dy), np.float32)
    points = np.asarray(p, np.float32).reshape(3, 2) * (half_w, half_h)
    x, y = u * half_w, v * half_h
    edges = []
    area = 0.0
    for i in range(3):
        a, b = points[i], points[(i + 1) % 3]
        area += float(a[0] * b[1] - b[0] * a[1])
        normal = np.array((b[1] - a[1], a[0] - b[0]))
        normal /= np.linalg.norm(normal) + 1e-9
        edges.append((x - a[0]) * normal[0] + (y - a[1]) * normal[1])
    sign = 1.0 if area > 0 else -1.0
    return np.asarray(
        np.maximum.reduce(edges) if sign > 0 else -np.minimum.reduce(edges), np.float32
    )


def _texture(kind: Texture, u: Array, v: Array, seed: int) -> Array | float:
    """Brightness factor of a texture around 1."""
    if kind == "noise":
        ox, oy = seed % 251, (seed // 251) % 241
        rows = (v * 22 + oy).astype(np.int64) % _NOISE_SIZE
        columns = (u * 22 + ox).astype(np.int64) % _NOISE_SIZE
        return np.asarray(1.0 + 0.35 * _noise()[rows, columns], np.float32)
    if kind == "columns":
        return np.asarray(1.0 + 0.14 * np.sign(np.sin(u * 10.0)), np.float32)
    if kind == "rows":
        return np.asarray(1.0 + 0.14 * np.sign(np.sin(v * 11.0)), np.float32)
    if kind == "bricks":
        shift = np.floor(v * 5.0) % 2 * 0.5
        mortar = (np.abs(v * 5.0 % 1.0) < 0.18) | (np.abs((u * 4.0 + shift) % 1.0) < 0.12)
        return np.asarray(np.where(mortar, 0.82, 1.04), np.float32)
    return 1.0


class _Canvas:
    """Pixel grids of one resolution, and the layers drawn so far."""

    def __init__(self, size: int, geometry: bool) -> None:
        self.size, self.geometry = size, geometry
        axis = (np.arange(size, dtype=np.float32) + 0.5) / size
        self.x, self.y = axis[None, :], axis[:, None]
        self.image: Array = np.zeros((size, size, 3), np.float32)
        self.labels = np.zeros((size, size), np.uint8)
        self.depth: Array = np.ones((size, size), np.float32)
        self.normals: Array = np.zeros((size, size, 3), np.float32)
        self.normals[..., 2] = 1.0


def _draw_background(canvas: _Canvas, scene: Scene) -> None:
    size, y, x = canvas.size, canvas.y, canvas.x
    rng = np.random.default_rng(scene.seed + 1)
    top = (
        np.array((0.36, 0.60, 0.92)) * (1 - scene.dusk) + np.array((0.32, 0.24, 0.48)) * scene.dusk
    )
    low = (
        np.array((0.76, 0.88, 0.98)) * (1 - scene.dusk) + np.array((0.98, 0.62, 0.36)) * scene.dusk
    )
    ramp = np.clip(y / scene.horizon, 0, 1)[..., None]
    if scene.flat:
        ramp = np.full_like(ramp, 0.5)
    canvas.image[:] = top * (1 - ramp) + low * ramp
    canvas.labels[:] = INDEX["sky"]

    for cx, half, height in scene.mountains:
        peak = scene.horizon - height * np.clip(1 - np.abs(x - cx) / half, 0, 1)
        inside = (y > peak) & (y < scene.horizon)
        cap = (y - peak < height * 0.25) & (np.abs(x - cx) < half * 0.25)
        shade = 1.0 if scene.flat else 1.0 + 0.25 * np.sign((x - cx) * scene.light[0])
        rock = np.array((0.46, 0.42, 0.44)) * np.broadcast_to(shade, (size, size))[..., None]
        color = np.where(cap[..., None], 0.92, rock)
        canvas.image[inside] = color[inside]
        canvas.labels[inside] = INDEX["mountain"]
        canvas.depth[inside] = 0.95

    below = (y >= scene.horizon)[:, 0]
    near, far = _GROUND_COLORS[scene.ground]
    t = np.clip((y - scene.horizon) / (1 - scene.horizon), 0, 1)
    ground = np.array(far) * (1 - t[..., None]) + np.array(near) * t[..., None]
    ground = np.broadcast_to(ground, (size, size, 3)).copy()
    if not scene.flat:
        offset = int(rng.integers(_NOISE_SIZE))
        rows = (y * 90 / (0.3 + t) + offset).astype(np.int64) % _NOISE_SIZE
        columns = (x * 110 + offset).astype(np.int64) % _NOISE_SIZE
        ground *= (1.0 + 0.16 * _noise()[rows, columns])[..., None]
        if scene.ground == "road":
            dash = (np.abs(y - 0.5 * (1 + scene.shore)) < 0.012) & ((x * 6) % 1.0 < 0.6)
            ground[dash] = 0.92
    canvas.image[below] = ground[below]
    canvas.labels[below] = INDEX[scene.ground]
    if scene.shore > scene.horizon:
        sea = ((y >= scene.horizon) & (y < scene.shore))[:, 0]
        waves = 1.0 if scene.flat else 1.0 + 0.10 * np.sin(y * 260 + 3 * np.sin(x * 23))
        water = np.array((0.14, 0.38, 0.62)) * np.broadcast_to(waves, (size, size))[..., None]
        canvas.image[sea] = water[sea]
        canvas.labels[sea] = INDEX["sea"]
    canvas.depth[below] = np.broadcast_to(0.9 - 0.8 * t, (size, size))[below]
    canvas.normals[below] = (0.0, -1.0, 0.0)


def _draw_instance(canvas: _Canvas, scene: Scene, item: Instance) -> None:
    size = canvas.size
    half_w, half_h = item.width / 2, item.height / 2
    x0, x1 = (int((item.x - half_w) * size) - 1, int((item.x + half_w) * size) + 2)
    y0, y1 = (int((item.y - half_h) * size) - 1, int((item.y + half_h) * size) + 2)
    rows, columns = slice(max(0, y0), min(size, y1)), slice(max(0, x0), min(size, x1))
    u = (canvas.x[:, columns] - item.x) / half_w
    v = (canvas.y[rows] - item.y) / half_h
    if item.mirrored:
        u = -u
    on_ground = SHAPES[item.name].habitat == "ground"
    if on_ground and not scene.flat:
        shadow = ((u + scene.light[0] * 0.3) / 1.1) ** 2 + ((v - 0.98) / 0.16) ** 2 < 1
        canvas.image[rows, columns][shadow] *= 0.72

    paints = paint_rgb(item)
    index = INDEX[item.name]
    depth = 0.9 - 0.8 * (item.base - scene.horizon) / (1 - scene.horizon) if on_ground else 0.85
    image, labels = canvas.image[rows, columns], canvas.labels[rows, columns]
    depths, normals = canvas.depth[rows, columns], canvas.normals[rows, columns]
    for part in SHAPES[item.name].parts:
        distance = _signed_distance(part, u, v, half_w, half_h) * size
        alpha = np.clip(0.5 - distance, 0.0, 1.0)
        inside = distance < 0
        base = paints[part.color] if isinstance(part.color, str) else part.color
        nx, ny, nz = _dome(part, u, v, item.mirrored)
        if scene.flat:
            color = np.asarray(base, np.float32)
        else:
            lit = nx * scene.light[0] + ny * scene.light[1] + nz * 0.6
            shade = (0.78 + 0.30 * lit) * _texture(part.texture, u, v, item.texture_seed)
            color = np.asarray(base, np.float32) * shade[..., None]
        image += alpha[..., None] * (color - image)
        labels[inside] = index
        if not canvas.geometry:
            continue
        depths[inside] = depth
        for axis, component in enumerate((nx, ny, nz)):
            normals[..., axis][inside] = np.broadcast_to(component, inside.shape)[inside]


def _dome(part: Part, u: Array, v: Array, mirrored: bool) -> tuple[Array, Array, Array]:
    """Surface normal of a primitive: ellipses bulge, boxes and triangles bend a little sideways."""
    if part.kind in ("ellipse", "dome"):
        cx, cy, rx, ry = part.params
        nx, ny = 0.9 * (u - cx) / rx, 0.9 * (v - cy) / ry
    elif part.kind == "box":
        left, _, right, _ = part.params
        nx, ny = 0.35 * (u - (left + right) / 2) / max(right - left, 1e-3), 0.0 * v
    else:
        nx, ny = 0.25 * u, 0.25 * v
    nx = -nx if mirrored else nx
    length = np.sqrt(nx**2 + ny**2 + 0.4)
    return (
        np.asarray(nx / length, np.float32),
        np.asarray(ny / length, np.float32),
        np.asarray(np.sqrt(0.4) / length, np.float32),
    )


def render(scene: Scene, size: int, geometry: bool = True) -> Rendering:
    """Draw a scene at `size` × `size` pixels; without `geometry`, which is a third
    faster, depth and normals stay those of an empty picture."""
    canvas = _Canvas(size, geometry)
    _draw_background(canvas, scene)
    for item in scene.instances:
        _draw_instance(canvas, scene, item)
    warm = np.array((1.0, 1.0 - 0.10 * scene.dusk, 1.0 - 0.22 * scene.dusk), np.float32)
    image = np.clip(canvas.image * warm * (1 - 0.12 * scene.dusk) * 255.0 + 0.5, 0, 255)
    return Rendering(image.astype(np.uint8), canvas.labels, canvas.depth, canvas.normals)


def colorize(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A label map as an RGB image in the scenes palette; unknown labels become black."""
    table: Any = np.zeros((256, 3), np.uint8)
    table[: len(CLASSES)] = [entry.color for entry in CLASSES]
    return np.asarray(table[labels], np.uint8)
