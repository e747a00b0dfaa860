"""Agreement of maps with labels: true maps have it, those of another scene don't."""

from __future__ import annotations

import numpy as np
import pytest
from fgdm.train.classes import INDEX
from fgdm.train.consistency import consistency, consistency_limits
from fgdm.train.render import render
from fgdm.train.truth import MAP_KINDS, MapKind, map_picture
from fgdm.train.world import sample_scene


def test_true_maps_agree_with_their_labels_and_not_with_others() -> None:
    limits = consistency_limits(64, 30)
    own, other = ({kind: of[side] for kind, of in limits.items()} for side in ("own", "other"))
    assert own["depth"] > 0.97
    assert other["depth"] < 0.9
    assert own["normal"] < 1  # degrees
    assert other["normal"] > 10
    assert own["sketch"] > 0.99
    assert other["sketch"] < 0.5
    assert own["pose"] > 0.85
    assert other["pose"] < 0.1


def test_things_have_the_depth_of_where_they_stand() -> None:
    labels = np.full((64, 64), INDEX["sky"], np.uint8)
    labels[32:] = INDEX["grass"]
    labels[50:64, 20:40] = INDEX["car"]
    depth = np.full((64, 64), 1.0)
    depth[32:] = 0.9 - 0.8 * ((np.arange(32, 64) + 0.5) / 64 - 0.5)[:, None] / 0.5
    depth[50:64, 20:40] = 0.1
    picture = np.repeat(np.rint(255 * (1 - depth)).astype(np.uint8)[..., None], 3, 2)
    assert consistency("depth", labels, picture) == 1
    picture[50:64, 20:40] = 255 // 2
    assert consistency("depth", labels, picture) == 1 - 14 * 20 / 64**2


@pytest.mark.parametrize("kind", MAP_KINDS)
def test_unlabeled_pixels_count_as_what_is_beside_them(kind: MapKind) -> None:
    scene = sample_scene(3, things=("person", "dog"))
    labels = render(scene, 64, geometry=False).labels
    picture = map_picture(kind, scene, 64)
    spoilt = labels.copy()
    spoilt[::9, ::7] = 255
    expected = consistency(kind, labels, picture)
    found = consistency(kind, spoilt, picture)
    assert found == pytest.approx(expected, rel=0.1, abs=1)


def test_labels_that_say_nothing_are_nan() -> None:
    black = np.zeros((64, 64, 3), np.uint8)
    grass = np.full((64, 64), INDEX["grass"], np.uint8)
    assert np.isnan(consistency("pose", grass, black))
    for kind in MAP_KINDS:
        assert np.isnan(consistency(kind, np.full((64, 64), 255, np.uint8), black))
