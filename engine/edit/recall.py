"""What a map holds of what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from fgdm.errors import RequestError

from .regions import Labels, checked


class Recall(NamedTuple):
    """recall: found / requested, 1 if nothing was requested. found, missing: classes, in the
    request's order. smallest_area: of a found class, as a fraction of the map; 0 if none."""

    recall: float
    found: list[int]
    missing: list[int]
    smallest_area: float


def measure(labels: Labels, requested: Sequence[int], min_area: float = 0.002) -> Recall:
    """Counts requested classes (0 to 254) that have at least the fraction `min_area` of a map,
    and a pixel: the engine's own rule (FG-DM, section 3)."""
    if not 0 <= min_area <= 1:
        raise RequestError(f"min_area is a fraction of the map from 0 to 1, got {min_area}")
    areas = np.bincount(checked(labels).ravel(), minlength=256) / labels.size
    wanted = list(dict.fromkeys(requested))
    if not all(0 <= label < 255 for label in wanted):
        raise RequestError(f"requested classes are 0 to 254, got {wanted!r:.60}")
    found = [label for label in wanted if areas[label] > 0 and areas[label] >= min_area]
    return Recall(
        len(found) / len(wanted) if wanted else 1.0,
        found,
        [label for label in wanted if label not in found],
        min((float(areas[label]) for label in found), default=0.0),
    )
