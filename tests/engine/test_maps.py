"""Pictures of maps hold the values that were put in, to what eight bits can tell."""

from __future__ import annotations

import numpy as np
import pytest
from fgdm import maps
from fgdm.errors import RequestError

RNG = np.random.default_rng(0)
GREYS = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)


def test_depth_is_exact_through_eight_bits_and_near_is_white() -> None:
    depth = maps.decode_depth(GREYS)
    assert depth.dtype == np.float32 and depth.shape == (16, 16)
    assert np.array_equal(maps.encode_depth(depth), GREYS)
    assert maps.encode_depth([[0.0, 1.0]]).tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize("lines", ["white", "black"])
def test_a_sketch_is_exact_through_eight_bits(lines: maps.Lines) -> None:
    assert np.array_equal(maps.encode_sketch(maps.decode_sketch(GREYS, lines), lines), GREYS)
    full = maps.encode_sketch([[1.0, 0.0]], lines)
    assert full[0, :, 0].tolist() == ([255, 0] if lines == "white" else [0, 255])


def test_normals_keep_their_angle() -> None:
    normals = RNG.standard_normal((64, 64, 3))
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    picture = maps.encode_normals(normals)
    decoded = maps.decode_normals(picture)
    assert decoded.dtype == np.float32
    assert np.allclose(np.linalg.norm(decoded, axis=2), 1, atol=1e-6)
    angle = np.degrees(np.arccos(np.clip((normals * decoded).sum(2), -1, 1)))
    assert angle.max() <= 0.4
    axes = maps.encode_normals([[[1, 0, 0], [0, -1, 0], [0, 0, 1]]])
    assert axes.tolist() == [[[255, 128, 128], [128, 0, 128], [128, 128, 255]]]


def test_every_picture_has_unit_normals() -> None:
    picture = RNG.integers(126, 130, (32, 32, 3), dtype=np.uint8)
    assert np.allclose(np.linalg.norm(maps.decode_normals(picture), axis=2), 1, atol=1e-6)


def test_colored_pictures_count_by_their_mean() -> None:
    picture = np.array([[[0, 128, 255]]], np.uint8)
    assert maps.decode_sketch(picture)[0, 0] == pytest.approx(383 / 765)
    assert maps.decode_depth(picture)[0, 0] == pytest.approx(1 - 383 / 765)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: maps.encode_depth([[1.5]]), "depth must be finite and within 0..1"),
        (lambda: maps.encode_depth([[np.nan]]), "depth must be finite"),
        (lambda: maps.encode_depth([0.5]), r"\(1,\); it must be \(height, width\)"),
        (lambda: maps.encode_depth([["far"]]), "must be an array of numbers"),
        (lambda: maps.encode_normals([[[0, 0, 2]]]), "unit vectors"),
        (lambda: maps.encode_normals([[[np.nan, 0, 1]]]), "unit vectors"),
        (lambda: maps.encode_normals([[0, 0, 1]]), r"\(height, width, 3\)"),
        (lambda: maps.encode_sketch([[0.0]], "red"), "'red'"),  # type: ignore[arg-type]
        (lambda: maps.decode_sketch(GREYS, "red"), "'red'"),  # type: ignore[arg-type]
        (lambda: maps.decode_depth(GREYS[..., 0]), "height, width, 3"),
        (lambda: maps.decode_normals(GREYS.astype(np.float32)), "float32; it must be .* uint8"),
    ],
)
def test_what_is_no_map_is_refused(call: object, says: str) -> None:
    assert callable(call)
    with pytest.raises(RequestError, match=says):
        call()
