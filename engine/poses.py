"""Drawings of poses: OpenPose's skeletons of 18 joints in its colors, on black.

A person is an (18, 3) float32 array: x and y of each joint as fractions of the picture's width and
height, and whether it is visible (1) or not (0), in the order of `JOINTS`. Cao et al., "OpenPose",
2019; the joints of COCO, and the neck.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fgdm.errors import RequestError
from numpy.typing import ArrayLike, NDArray

Person = NDArray[np.float32]
#: x and y of a joint's disc, in pixels, and how likely it is one, 0 to 1.
Disc = tuple[float, float, float]

JOINTS = (
    *("nose", "neck"),
    *("right shoulder", "right elbow", "right wrist"),
    *("left shoulder", "left elbow", "left wrist"),
    *("right hip", "right knee", "right ankle"),
    *("left hip", "left knee", "left ankle"),
    *("right eye", "left eye", "right ear", "left ear"),
)
#: The two joints of each limb. Limb i has joint i's color, darker.
LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7)),
    *((1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
#: RGB of each joint: the hues once round, in steps of a third of a channel.
COLORS = (
    *((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0)),
    *((0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255)),
    *((0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85)),
)
_JOINT_COLORS = np.array(COLORS, np.float64)
_LIMB_COLORS = 0.6 * _JOINT_COLORS[: len(LIMBS)]
#: All that a pixel can be: a joint, a limb, black.
_ALL_COLORS = np.concatenate([_JOINT_COLORS, _LIMB_COLORS, np.zeros((1, 3))])
#: How far a color strays, as the deviation of a normal distribution, in levels.
_STRAY = 50.0
_LEAST_DISC, _LEAST_LIMB = 0.05, 0.25
#: A person has at least so many discs that are so likely.
_LEAST_SURE, _SURE = 3, 0.2
_MOST_DISCS = 30
#: Pixels whose every channel is below this are black.
_BLACK = 24


def radius(height: int, width: int) -> float:
    """Of a joint's disc, and half a limb's width, in pixels: 4 in a picture of 512, at least 1."""
    return max(1.0, min(height, width) / 128)


def encode_pose(persons: Sequence[ArrayLike], height: int, width: int) -> NDArray[np.uint8]:
    """The drawing of any number of persons: (height, width, 3) uint8, edges smooth.

    Joints and limbs that aren't visible are left out. RequestError unless every person is an
    (18, 3) array of finite numbers.
    """
    figures = [_figure(person) for person in persons]
    picture = np.zeros((height, width, 3))
    y, x = np.mgrid[0:height, 0:width] + 0.5
    size = radius(height, width)

    def paint(distance: NDArray[np.float64], color: NDArray[np.float64]) -> None:
        alpha = np.clip(size + 0.5 - distance, 0, 1)[..., None]
        picture[:] += alpha * (color - picture)

    for figure in figures:
        points = figure[:, :2] * (width, height)
        for (a, b), color in zip(LIMBS, _LIMB_COLORS, strict=True):
            if figure[a, 2] and figure[b, 2]:
                start, along = points[a], points[b] - points[a]
                squared = max(float(along @ along), 1e-9)
                t = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / squared
                t = t.clip(0, 1)
                paint(np.hypot(x - start[0] - t * along[0], y - start[1] - t * along[1]), color)
    for figure in figures:
        points = figure[:, :2] * (width, height)
        for point, visible, color in zip(points, figure[:, 2], _JOINT_COLORS, strict=True):
            if visible:
                paint(np.hypot(x - point[0], y - point[1]), color)
    return np.rint(picture).astype(np.uint8)


def decode_pose(picture: NDArray[np.uint8]) -> list[Person]:
    """The persons of a drawing, drawn or generated, the one with the most visible joints first.

    Joints are found by the colors of their discs, and joined where the colors between two of them
    are those of their limb. A person has at least three joints. RequestError unless the picture is
    (H, W, 3) of uint8.
    """
    array = np.asarray(picture)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise RequestError(
            f"the picture is {array.shape} of {array.dtype}; it must be (height, width, 3) of uint8"
        )
    height, width = array.shape[:2]
    rows, columns = np.nonzero(array.max(2) >= _BLACK)
    beliefs = _beliefs(array[rows, columns].astype(np.float64))
    places = np.stack([columns, rows], axis=1).astype(np.float64) + 0.5
    size = radius(height, width)
    found = [_discs(belief, places, size) for belief in beliefs[: len(JOINTS)]]
    drawn = np.zeros((height, width))
    drawn[rows, columns] = 1 - beliefs[-1]
    persons = []
    for members in _without_echoes(_assemble(drawn, found, size), size):
        person = np.zeros((len(JOINTS), 3), np.float32)
        for joint, (x, y, _) in members.items():
            person[joint] = (x / width, y / height, 1)
        persons.append(person)
    return sorted(persons, key=lambda person: -float(person[:, 2].sum()))


def _figure(person: ArrayLike) -> NDArray[np.float64]:
    try:
        figure = np.asarray(person, np.float64)
    except (TypeError, ValueError) as error:
        raise RequestError(f"a person must be an array of numbers: {error}") from error
    if figure.shape != (len(JOINTS), 3) or not np.all(np.isfinite(figure)):
        raise RequestError(
            f"a person has the shape {figure.shape}; it must be (18, 3), x, y and visibility of "
            "each joint, all finite"
        )
    return figure


def _beliefs(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """How likely each of (n, 3) pixels is each of `_ALL_COLORS`: (36, n), columns' sums are 1."""
    squared = ((pixels[None] - _ALL_COLORS[:, None]) ** 2).sum(-1) / (2 * _STRAY**2)
    beliefs = np.exp(squared.min(0) - squared)
    return np.asarray(beliefs / beliefs.sum(0), np.float64)


def _discs(belief: NDArray[np.float64], places: NDArray[np.float64], size: float) -> list[Disc]:
    """(x, y, belief) of every disc of a joint, in pixels, the likeliest first.

    belief: (n,) that a pixel is of the joint. places: (n, 2) x and y of the pixels.
    """
    discs: list[Disc] = []
    left = belief.copy()
    while len(discs) < _MOST_DISCS and left.size and left.max() >= _LEAST_DISC:
        at = int(left.argmax())
        best = float(left[at])
        distance = np.linalg.norm(places - places[at], axis=1)
        near = distance <= 2 * size + 0.5
        weight = np.maximum(left[near] - best / 2, 0)
        x, y = (weight @ places[near] / weight.sum()).tolist()
        discs.append((x, y, best))
        left[distance <= 3 * size + 0.5] = 0
    return discs


def _assemble(
    drawn: NDArray[np.float64], found: list[list[Disc]], size: float
) -> list[dict[int, Disc]]:
    """Persons as {joint: its disc}.

    The best limbs are taken first: short ones between likely discs, and something drawn in between.
    A disc is one person's only, and a person has one disc of each joint.
    """
    pairs = []
    for a, b in LIMBS:
        for i, (ax, ay, a_score) in enumerate(found[a]):
            for j, (bx, by, b_score) in enumerate(found[b]):
                length = float(np.hypot(bx - ax, by - ay))
                evidence = _along(drawn, (ax, ay), (bx, by))
                if length > size / 2 and evidence >= _LEAST_LIMB:
                    nearness = 1 / np.sqrt(0.1 + length / max(drawn.shape))
                    score = evidence * a_score * b_score * nearness
                    pairs.append((score, (a, i), (b, j)))
    owner: dict[tuple[int, int], dict[int, int]] = {}
    for _, start, end in sorted(pairs, reverse=True):
        one, other = owner.get(start, dict([start])), owner.get(end, dict([end]))
        if one is other or one.keys() & other.keys():
            continue
        one.update(other)
        for disc in one.items():
            owner[disc] = one
    persons = {id(person): person for person in owner.values()}.values()
    return [{joint: found[joint][i] for joint, i in person.items()} for person in persons]


def _without_echoes(persons: list[dict[int, Disc]], size: float) -> list[dict[int, Disc]]:
    """Without what isn't there: a disc looks a little like one of a close hue in the same place."""
    persons = sorted(persons, key=lambda person: -sum(disc[2] for disc in person.values()))
    kept: list[dict[int, Disc]] = []
    for person in persons:
        others = [disc for members in [*kept, person] for disc in members.values()]
        real = {
            joint: disc
            for joint, disc in person.items()
            if not any(
                other[2] > 2 * disc[2]
                and np.hypot(other[0] - disc[0], other[1] - disc[1]) <= 1.5 * size
                for other in others
            )
        }
        if sum(disc[2] >= _SURE for disc in real.values()) >= _LEAST_SURE:
            kept.append(real)
    return kept


def _along(
    values: NDArray[np.float64], start: tuple[float, float], end: tuple[float, float]
) -> float:
    """The mean of the values on the way from one disc to another, without the discs themselves."""
    t = np.linspace(0.25, 0.75, 7)
    rows = (start[1] + t * (end[1] - start[1])).astype(np.int64)
    columns = (start[0] + t * (end[0] - start[0])).astype(np.int64)
    return float(values[rows, columns].mean())
