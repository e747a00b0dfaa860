"""What a scene's depth, normal, sketch and pose maps are: exact, because everything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from fgdm.maps import encode_depth, encode_normals, encode_pose, encode_sketch
from numpy.typing import NDArray

from .classes import CLASSES, INDEX
from .render import Rendering, render
from .world import Instance, Scene

MapKind = Literal["depth", "normal", "sketch", "pose"]
MAP_KINDS: tuple[MapKind, ...] = ("depth", "normal", "sketch", "pose")
#: The condition factors of the procedural world.
FactorName = Literal["segmentation"] | MapKind
FACTOR_NAMES: tuple[FactorName, ...] = ("segmentation", *MAP_KINDS)

#: Where a person's joints are in its box, (u, v) in [-1, 1], v downwards, by OpenPose's number. The
#: person looks at the camera, so its right is on our left, also when mirrored: it is symmetric.
#: It has no eyes and no ears.
_JOINTS = {
    **{0: (0.0, -0.72), 1: (0.0, -0.44)},
    **{2: (-0.60, -0.36), 3: (-0.71, -0.10), 4: (-0.71, 0.16)},
    **{5: (0.60, -0.36), 6: (0.71, -0.10), 7: (0.71, 0.16)},
    **{8: (-0.24, 0.28), 9: (-0.24, 0.60), 10: (-0.24, 0.94)},
    **{11: (0.24, 0.28), 12: (0.24, 0.60), 13: (0.24, 0.94)},
}
#: Of a person that shows fewer joints no skeleton is drawn.
_LEAST_JOINTS = 3


@dataclass(frozen=True)
class Skeleton:
    """joints: (18, 3) as in `fgdm.poses`. side: of the person's box, the longer one, as a fraction
    of the picture."""

    joints: NDArray[np.float32]
    side: float


def skeletons(instances: Sequence[Instance], labels: NDArray[np.uint8]) -> list[Skeleton]:
    """The persons among them. A joint is visible where the (S, S) label map has a person."""
    found = []
    size = len(labels)
    for item in instances:
        if item.name != "person":
            continue
        joints = np.zeros((18, 3), np.float32)
        for joint, (u, v) in _JOINTS.items():
            x, y = item.x + u * item.width / 2, item.y + v * item.height / 2
            inside = 0 <= x < 1 and 0 <= y < 1
            visible = inside and labels[int(y * size), int(x * size)] == INDEX["person"]
            joints[joint] = (x, y, visible)
        if joints[:, 2].sum() >= _LEAST_JOINTS:
            found.append(Skeleton(joints, max(item.width, item.height)))
    return found


def outlines(view: Rendering) -> NDArray[np.bool_]:
    """(S, S): the lines of a sketch, two pixels wide, one on each side of an edge.

    An edge is between two classes, or between two things of a class. An autoencoder keeps lines of
    two pixels; of one it keeps half the strength.
    """
    thing = np.array([entry.thing for entry in CLASSES])[view.labels]
    lines = np.zeros(view.labels.shape, bool)
    for axis in (0, 1):
        # Things stand upright: within one the depth is the same everywhere.
        edges = (np.diff(view.labels.astype(np.int16), axis=axis) != 0) | (
            (np.diff(view.depth, axis=axis) != 0) & np.delete(thing, 0, axis)
        )
        before = [(0, 1) if i == axis else (0, 0) for i in (0, 1)]
        after = [(1, 0) if i == axis else (0, 0) for i in (0, 1)]
        lines |= np.pad(edges, before) | np.pad(edges, after)
    return lines


def map_picture(kind: MapKind, scene: Scene, size: int) -> NDArray[np.uint8]:
    """The map of a kind as a picture, (size, size, 3), as `fgdm.maps` encodes it."""
    view = render(scene, size, geometry=kind != "pose")
    if kind == "depth":
        return encode_depth(view.depth)
    if kind == "normal":
        return encode_normals(view.normals)
    if kind == "sketch":
        return encode_sketch(outlines(view))
    people = [skeleton.joints for skeleton in skeletons(scene.instances, view.labels)]
    return encode_pose(people, size, size)
