"""Checks label maps against requirements, without an engine."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import fgdm._core as _core  # noqa: PLR0402 (absent, it must be named in the ImportError)
import numpy as np
import numpy.typing as npt
from fgdm import values
from fgdm.arrays import SupportsDLPack
from fgdm.files import read_regular
from fgdm.requirements import Requirement, Requirements, as_requirements


@dataclass(frozen=True)
class MapCheck:
    """How well one map meets requirements.

    requirements, met: each one, and whether the map meets it; None where a map can't say (colours).
    presence, counts, relations, absences: the shares that are met, 0 to 1, and 1 where nothing of
    the kind is required. presence is the recall of the FG-DM paper (section 4).
    compliance: met / checked requirements. joint: whether all are met.
    """

    requirements: tuple[Requirement, ...]
    met: tuple[bool | None, ...]
    presence: float
    counts: float
    relations: float
    absences: float
    compliance: float

    @property
    def joint(self) -> bool:
        return self.compliance == 1.0

    @property
    def unmet(self) -> tuple[str, ...]:
        """The requirements that aren't met, in words."""
        return tuple(
            one.text for one, met in zip(self.requirements, self.met, strict=True) if met is False
        )


def check_map(
    labels: npt.NDArray[np.uint8] | SupportsDLPack,
    requirements: Requirements,
    palette: str | os.PathLike[str] | Mapping[str, object],
    *,
    min_area: float = 0.002,
    opening: int = 0,
) -> MapCheck:
    """Checks a label map against requirements.

    labels: uint8 (h, w), class indices of the palette, of any library with DLPack; 255 is
    unlabeled. palette: a palette.json, its path or its content. min_area: the fraction of the map,
    0 to 1, from which on a class or an instance is there. opening: pixels, 0 to 64, by which
    classes are opened with a square before instances are told apart: bridges no wider than twice
    that fall.

    Instances are connected components (8 neighbours). left of, right of, above and below are
    GenEval's (Ghosh et al., NeurIPS 2023): the offset of the bounding boxes' centres, each axis
    less a tenth of both extents, makes more than half of the offset's length on that axis.
    docs/compliance.md has the other relations.

    Raises RequestError for arguments that aren't allowed, BundleError for the palette.
    """
    pixels = values.labels("labels", labels)
    content = (
        json.dumps(dict(palette))
        if isinstance(palette, Mapping)
        else read_regular(Path(values.path("palette", palette))).decode()
    )
    found = _core.check_map(
        content,
        pixels,
        as_requirements("requirements", requirements),
        values.required_real("min_area", min_area),
        values.required_integer("opening", opening),
    )
    texts = tuple(Requirement(kind, text) for kind, text in found.pop("requirements"))
    return MapCheck(requirements=texts, met=tuple(found.pop("met")), **found)


def number_instances(
    labels: npt.NDArray[np.uint8] | SupportsDLPack, *, min_area: float = 0.002, opening: int = 0
) -> npt.NDArray[np.uint32]:
    """Which instance each pixel of a label map is of, uint32 (h, w).

    1, 2, … in the order of their first pixels, row by row, each of one class; 0 for pixels without
    a class, and for what is smaller than `min_area` or taken away by `opening`. Arguments and
    errors as of `check_map`: these are the instances that it counts.
    """
    return _core.number_instances(
        values.labels("labels", labels),
        values.required_real("min_area", min_area),
        values.required_integer("opening", opening),
    )
