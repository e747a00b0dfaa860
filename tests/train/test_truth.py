"""The maps that factors learn from are those of the scene, at the same places as its labels."""

from __future__ import annotations

import numpy as np
import pytest
from fgdm.maps import decode_depth, decode_normals, decode_pose, decode_sketch
from fgdm.train.classes import INDEX
from fgdm.train.render import render
from fgdm.train.truth import MAP_KINDS, map_picture, outlines, skeletons
from fgdm.train.world import sample_scene

PEOPLE = sample_scene(5, things=("person", "tree"))


@pytest.mark.parametrize("kind", MAP_KINDS)
def test_every_kind_is_a_picture_of_the_maps_size(kind: str) -> None:
    picture = map_picture(kind, PEOPLE, 48)  # type: ignore[arg-type]
    assert picture.shape == (48, 48, 3) and picture.dtype == np.uint8
    assert picture.any()


def test_depth_and_normals_are_the_renderings() -> None:
    view = render(PEOPLE, 64)
    depth = decode_depth(map_picture("depth", PEOPLE, 64))
    assert np.abs(depth - view.depth).max() <= 0.5 / 255 + 1e-6
    normals = decode_normals(map_picture("normal", PEOPLE, 64))
    assert (normals * view.normals).sum(-1).min() > 0.999


def test_lines_are_where_labels_change_and_between_things_of_a_class() -> None:
    view = render(PEOPLE, 64)
    lines = outlines(view)
    changes = view.labels[:, 1:] != view.labels[:, :-1]
    assert lines[:, 1:][changes].all() and lines[:, :-1][changes].all()
    assert np.array_equal(decode_sketch(map_picture("sketch", PEOPLE, 64)), lines)
    # Ground gets nearer row by row, and that is no edge.
    ground = view.labels == INDEX[PEOPLE.ground]
    inside = ground.copy()
    for axis in (0, 1):
        for shift in (-1, 1):
            inside &= np.roll(ground, shift, axis)
    assert not lines[inside].any()

    overlapping = render(sample_scene(3, things=("tree",) * 6), 64)
    trees = overlapping.labels == INDEX["tree"]
    jumps = (np.diff(overlapping.depth, axis=1) != 0) & trees[:, 1:] & trees[:, :-1]
    assert jumps.any()
    assert outlines(overlapping)[:, 1:][jumps].all()


def test_joints_are_within_their_person_unless_something_covers_them() -> None:
    size = 256
    for seed in range(5):
        scene = sample_scene(seed, things=("person", "dog", "car"))
        labels = render(scene, size, geometry=False).labels
        persons = [item for item in scene.instances if item.name == "person"]
        found = skeletons(scene.instances, labels)
        assert len(found) <= len(persons)
        for skeleton in found:
            visible = skeleton.joints[skeleton.joints[:, 2] > 0]
            assert len(visible) >= 3
            for x, y, _ in visible:
                assert labels[int(y * size), int(x * size)] == INDEX["person"]
            # The right hand is on our left, the feet are below the head.
            right, left = skeleton.joints[4, 0], skeleton.joints[7, 0]
            assert right < left and skeleton.joints[10, 1] > skeleton.joints[0, 1]
    alone = sample_scene(0, things=("person",))
    skeleton = skeletons(alone.instances, render(alone, size, geometry=False).labels)[-1]
    assert skeleton.joints[:14, 2].all() and not skeleton.joints[14:].any()


def test_a_pose_map_holds_its_persons() -> None:
    scene = sample_scene(0, things=("person",))
    truth = skeletons(scene.instances, render(scene, 128, geometry=False).labels)
    found = decode_pose(map_picture("pose", scene, 128))
    assert len(found) == len(truth)
    assert not map_picture("pose", sample_scene(1, things=("car",)), 64).any()
