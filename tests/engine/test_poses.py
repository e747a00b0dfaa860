"""A pose is found again in its drawing, at every size that a bundle's maps have."""

from __future__ import annotations

import numpy as np
import pytest
from fgdm.errors import RequestError
from fgdm.maps import decode_pose, encode_pose
from fgdm.poses import COLORS, JOINTS, LIMBS, Person

#: (x, y) of each joint in a person's box, both in 0..1: arms and legs spread.
_STANDING = (
    *((0.50, 0.14), (0.50, 0.26)),
    *((0.35, 0.28), (0.20, 0.42), (0.08, 0.56), (0.65, 0.28), (0.80, 0.42), (0.92, 0.56)),
    *((0.40, 0.58), (0.34, 0.78), (0.30, 0.98), (0.60, 0.58), (0.66, 0.78), (0.70, 0.98)),
    *((0.45, 0.09), (0.55, 0.09), (0.38, 0.12), (0.62, 0.12)),
)


def person(left: float, top: float, width: float, height: float) -> Person:
    spots = np.array(_STANDING) * (width, height) + (left, top)
    return np.concatenate([spots, np.ones((18, 1))], axis=1).astype(np.float32)


def matched(true: Person, found: Person, height: float) -> float:
    """The share of the visible joints that are found within a twentieth of the person's height."""
    near = np.linalg.norm(true[:, :2] - found[:, :2], axis=1) <= 0.05 * height
    visible = true[:, 2] > 0
    return float((near & (found[:, 2] > 0))[visible].mean())


@pytest.mark.parametrize("size", [256, 512])
def test_persons_are_found_again(size: int) -> None:
    persons = [person(0.05, 0.2, 0.3, 0.6), person(0.5, 0.1, 0.45, 0.85)]
    found = decode_pose(encode_pose(persons, size, size))
    assert len(found) == 2
    for true in persons:
        assert max(matched(true, seen, 0.6) for seen in found) == 1


def test_a_small_drawing_is_found_but_for_its_face() -> None:
    """At 64 pixels a face is three pixels wide: eyes and ears are left out."""
    true = person(0.2, 0.1, 0.35, 0.75)
    true[14:, 2] = 0
    (found,) = decode_pose(encode_pose([true], 64, 64))
    assert matched(true, found, 0.75) == 1
    assert not found[14:, 2].any()


def test_what_is_not_visible_is_not_drawn() -> None:
    true = person(0.1, 0.1, 0.8, 0.8)
    true[[4, 10], 2] = 0
    (found,) = decode_pose(encode_pose([true], 256, 256))
    assert np.array_equal(found[:, 2], true[:, 2])


def test_width_and_height_count_apart() -> None:
    true = person(0.1, 0.1, 0.4, 0.8)
    picture = encode_pose([true], 256, 512)
    assert picture.shape == (256, 512, 3) and picture.dtype == np.uint8
    (found,) = decode_pose(picture)
    assert matched(true, found, 0.8) == 1


def test_an_empty_picture_has_no_person() -> None:
    assert not encode_pose([], 64, 64).any()
    assert decode_pose(encode_pose([], 64, 64)) == []
    assert decode_pose(np.full((64, 64, 3), 255, np.uint8)) == []


def test_noise_ends() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for found in decode_pose(noise):
        assert found.shape == (18, 3)
        assert np.all((found[:, :2] >= 0) & (found[:, :2] <= 1))


def test_the_colors_are_openposes() -> None:
    assert len(JOINTS) == len(COLORS) == 18 and len(LIMBS) == 17
    true = person(0.1, 0.1, 0.8, 0.8)
    picture = encode_pose([true], 512, 512)
    for (x, y, _), color in zip(true, COLORS, strict=True):
        assert tuple(picture[int(y * 512), int(x * 512)]) == color
    a, b = (true[i, :2] for i in LIMBS[7])
    x, y = ((a + b) / 2 * 512).astype(int)
    assert np.allclose(picture[y, x], 0.6 * np.array(COLORS[7]), atol=1)


@pytest.mark.parametrize("wrong", [np.zeros((17, 3)), np.full((18, 3), np.nan), [["a"]]])
def test_what_is_no_person_is_refused(wrong: object) -> None:
    with pytest.raises(RequestError, match="a person"):
        encode_pose([wrong], 64, 64)  # type: ignore[list-item]


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(RequestError, match="height, width, 3"):
        decode_pose(np.zeros((64, 64), np.uint8))
