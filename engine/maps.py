"""Pictures of the kinds of maps that aren't labels: depth, normals, sketches and poses.

Every kind is stored and generated as an RGB picture, (H, W, 3) uint8. Encoding what was decoded
gives the same picture again, for any picture that `encode_depth` or `encode_sketch` made.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from fgdm.arrays import as_numpy
from fgdm.errors import RequestError
from fgdm.poses import decode_pose, encode_pose
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Lines",
    "Picture",
    "decode_depth",
    "decode_normals",
    "decode_pose",
    "decode_sketch",
    "encode_depth",
    "encode_normals",
    "encode_pose",
    "encode_sketch",
]

Picture = NDArray[np.uint8]
#: The color of a sketch's lines, on the other color: as its ControlNet was trained.
Lines = Literal["white", "black"]


def encode_depth(depth: ArrayLike) -> Picture:
    """A grey picture, near is white: round(255 (1 - depth)), as ControlNets for depth expect.

    depth: (H, W), 0 nearest to 1 farthest. RequestError if it is anything else.
    """
    return _grey(1 - _fractions("depth", depth))


def decode_depth(picture: Picture) -> NDArray[np.float32]:
    """(H, W) float32, 0 nearest to 1 farthest, of the mean of the three channels."""
    return np.asarray(1 - _mean(picture), np.float32)


def encode_normals(normals: ArrayLike) -> Picture:
    """Red, green and blue are x, y and z: round(127.5 (n + 1)).

    normals: (H, W, 3) unit vectors: x to the right, y down, z towards the camera. Ground is
    (0, -1, 0), a wall that faces the camera (0, 0, 1). Eight bits keep an angle within 0.4 degrees.
    Pictures for ControlNet's normal-bae have x and y the other way round: 255 minus red, 255 minus
    green. RequestError unless every vector has length 1 (within 0.01).
    """
    array = _numbers("normals", normals)
    if array.ndim != 3 or array.shape[2] != 3:
        raise RequestError(f"normals have the shape {array.shape}; it must be (height, width, 3)")
    length = np.linalg.norm(array, axis=2)
    if not np.all(np.abs(length - 1) <= 0.01):
        raise RequestError("normals must be finite unit vectors; divide them by their lengths")
    return np.rint(127.5 * (array + 1)).clip(0, 255).astype(np.uint8)


def decode_normals(picture: Picture) -> NDArray[np.float32]:
    """(H, W, 3) float32 unit vectors, axes as in `encode_normals`.

    A generated picture's vectors are brought to length 1.
    """
    vectors = _checked(picture).astype(np.float64) / 127.5 - 1
    # No 8-bit value is 0, so no vector is shorter than 0.006.
    return np.asarray(vectors / np.linalg.norm(vectors, axis=2, keepdims=True), np.float32)


def encode_sketch(strength: ArrayLike, lines: Lines = "white") -> Picture:
    """Grey lines of a strength, white on black or black on white.

    strength: (H, W), 0 no line to 1 a full one. RequestError if it is anything else.
    """
    array = _fractions("strength", strength)
    return _grey(array if _white(lines) else 1 - array)


def decode_sketch(picture: Picture, lines: Lines = "white") -> NDArray[np.float32]:
    """(H, W) float32, 0 no line to 1 a full one, of the mean of the three channels."""
    grey = _mean(picture)
    return np.asarray(grey if _white(lines) else 1 - grey, np.float32)


def _white(lines: Lines) -> bool:
    if lines not in ("white", "black"):
        raise RequestError(f'lines are {lines!r}; a sketch has "white" or "black" ones')
    return lines == "white"


def _grey(values: NDArray[np.float64]) -> Picture:
    level = np.rint(255 * values).astype(np.uint8)
    return np.repeat(level[..., None], 3, axis=2)


def _mean(picture: Picture) -> NDArray[np.float64]:
    return np.asarray(_checked(picture).mean(2) / 255, np.float64)


def _checked(picture: Picture) -> Picture:
    array = as_numpy("the picture", picture, "a uint8 array of shape (height, width, 3)")
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise RequestError(
            f"the picture is {array.shape} of {array.dtype}; it must be (height, width, 3) of uint8"
        )
    return array


def _fractions(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = _numbers(name, values)
    if array.ndim != 2:
        raise RequestError(f"{name} has the shape {array.shape}; it must be (height, width)")
    if not np.all((array >= 0) & (array <= 1)):
        raise RequestError(f"{name} must be finite and within 0..1")
    return array


def _numbers(name: str, values: ArrayLike) -> NDArray[np.float64]:
    try:
        return np.asarray(as_numpy(name, values, "an array of numbers"), np.float64)
    except (TypeError, ValueError) as error:
        raise RequestError(f"{name} must be an array of numbers: {error}") from error
