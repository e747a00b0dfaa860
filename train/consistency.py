"""How well the maps of a chain agree with its label map, where no scene says what is true.

In this world a label map tells most of the other maps: how far ground, sky and things that stand on
the ground are, which way backgrounds face, where outlines are, and how a person stands in its
outline. What covers what, and where two things of a class touch, it doesn't tell; so even the true
maps agree only so far with the true labels (`consistency_limits`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from fgdm.maps import decode_depth, decode_normals, decode_pose, decode_sketch
from numpy.typing import NDArray

from .classes import CLASSES, INDEX
from .map_scores import depth_scores, normal_scores, pose_scores, sketch_scores
from .render import Rendering, render
from .shapes import SHAPES
from .truth import MAP_KINDS, MapKind, Skeleton, map_picture, outlines, skeletons
from .world import Instance, sample_scene

#: The score that says it, as `map_scores` calls it.
SCORES: dict[MapKind, str] = {
    "depth": "delta_1.25",
    "normal": "mean_angle",
    "sketch": "f1",
    "pose": "pck_0.1",
}
#: The first seed of the scenes of `consistency_limits`, far from every training set.
LIMITS_SEED = 8_500_000
_UNKNOWN = 255
_GROUND = [INDEX[name] for name in ("grass", "sand", "road", "snow", "sea")]
_ABOVE = [INDEX[name] for name in ("sky", "mountain")]
#: How far a person's outline reaches in its box, (left, top, right, bottom) in [-1, 1].
_PERSON = (-0.90, -1.02, 0.90, 1.0)


def consistency(kind: MapKind, labels: NDArray[np.uint8], picture: NDArray[np.uint8]) -> float:
    """The agreement of a map of a kind with a label map, as `SCORES` names it.

    labels: (S, S) class indices; 255 is unlabeled, and counts as what is beside it. picture:
    (S, S, 3). NaN where the labels say nothing of the map: of a pose, where there is no person.
    """
    labels = _filled(labels)
    if (labels == _UNKNOWN).all():
        return float("nan")
    if kind == "pose":
        people = _people(labels)
        scores = pose_scores([people], [decode_pose(picture)]) if people else {}
    elif kind == "depth":
        scores = depth_scores(_view(labels).depth[None], decode_depth(picture)[None])
    elif kind == "sketch":
        lines = outlines(_view(labels)).astype(np.float32)
        scores = sketch_scores(lines[None], decode_sketch(picture)[None])
    else:
        faces = np.isin(labels, [*_GROUND, *_ABOVE])
        truth, seen = _view(labels).normals[faces], decode_normals(picture)[faces]
        scores = normal_scores(truth[None, None], seen[None, None]) if faces.any() else {}
    return float(scores[SCORES[kind]][0]) if scores else float("nan")


def consistency_limits(size: int, scenes: int) -> dict[MapKind, dict[str, float]]:
    """What to compare an agreement with: means over rendered scenes, at `size` × `size` pixels.

    By kind: "own", of the true map with its scene's true labels, which no model surpasses; "other",
    with the labels of another scene, which a map has that knows nothing of them.
    """
    seeds = range(LIMITS_SEED, LIMITS_SEED + scenes)
    drawn = [sample_scene(seed) for seed in seeds]
    labels = [render(scene, size, geometry=False).labels for scene in drawn]
    others = [*labels[1:], labels[0]]
    limits: dict[MapKind, dict[str, float]] = {}
    for kind in MAP_KINDS:
        maps = [map_picture(kind, scene, size) for scene in drawn]
        limits[kind] = {"own": _mean(kind, labels, maps), "other": _mean(kind, others, maps)}
    return limits


def _mean(
    kind: MapKind, labels: Sequence[NDArray[np.uint8]], maps: Sequence[NDArray[np.uint8]]
) -> float:
    values = np.array([consistency(kind, *pair) for pair in zip(labels, maps, strict=True)])
    said = values[np.isfinite(values)]
    return float(said.mean()) if len(said) else float("nan")


def _filled(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels whose unlabeled pixels have taken the class of a neighbour, as often as it takes."""
    filled = labels
    while (filled == _UNKNOWN).any() and (filled != _UNKNOWN).any():
        for near in _neighbours(filled, _UNKNOWN):
            filled = np.where(filled == _UNKNOWN, near, filled)
    return filled


def _neighbours(array: NDArray[Any], outside: int) -> tuple[NDArray[Any], ...]:
    """What lies to the left of, to the right of, above and below every element of (S, S)."""
    padded = np.pad(array, 1, constant_values=outside)
    return padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]


def _view(labels: NDArray[np.uint8]) -> Rendering:
    """What is known of a scene by its labels; normals only of backgrounds."""
    size = len(labels)
    ground, above = np.isin(labels, _GROUND), np.isin(labels, _ABOVE)
    # The row that parts what lies above from the ground best.
    gained = np.concatenate([[0], np.cumsum(above.sum(1) - ground.sum(1))])
    horizon = min(int(gained.argmax()), size - 1) / size

    def on_ground(base: NDArray[np.float64]) -> NDArray[np.float64]:
        """The depth of what stands with its base at a height, a fraction from the top."""
        return 0.9 - 0.8 * np.clip((base - horizon) / (1 - horizon), 0, 1)

    rows = (np.arange(size) + 0.5) / size
    depth = np.where(ground, on_ground(rows)[:, None], 1.0)
    depth[labels == INDEX["mountain"]] = 0.95
    for number, region in _regions(labels):
        entry = CLASSES[number]
        if entry.thing:
            stands = SHAPES[entry.name].habitat == "ground"
            base = (np.flatnonzero(region.any(1))[-1] + 1) / size
            depth[region] = on_ground(np.array(base)) if stands else 0.85
    normals = np.zeros((size, size, 3), np.float32)
    normals[..., 2] = 1
    normals[ground] = (0, -1, 0)
    picture = np.zeros((size, size, 3), np.uint8)
    return Rendering(picture, labels, depth.astype(np.float32), normals)


def _people(labels: NDArray[np.uint8]) -> list[Skeleton]:
    """A person in every region of that class."""
    size = len(labels)
    left, top, right, bottom = _PERSON
    boxes = []
    for number, region in _regions(labels):
        if number != INDEX["person"]:
            continue
        rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
        height = 2 * (rows[-1] + 1 - rows[0]) / size / (bottom - top)
        width = 2 * (columns[-1] + 1 - columns[0]) / size / (right - left)
        x = columns[0] / size - left * width / 2
        y = rows[0] / size - top * height / 2
        boxes.append(Instance("person", x, y, width, height, False, "", 0))
    return skeletons(boxes, labels)


def _regions(labels: NDArray[np.uint8]) -> list[tuple[int, NDArray[np.bool_]]]:
    """The connected regions of equal class: the class, and (S, S) where it is."""
    same = [near == labels for near in _neighbours(labels, _UNKNOWN)]
    numbers = np.arange(labels.size).reshape(labels.shape)
    while True:
        before = numbers
        for near, belongs in zip(_neighbours(numbers, 0), same, strict=True):
            numbers = np.where(belongs, np.maximum(numbers, near), numbers)
        if np.array_equal(numbers, before):
            break
    regions = [numbers == number for number in np.unique(numbers)]
    return [(int(labels[region][0]), region) for region in regions]
