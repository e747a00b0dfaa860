"""What a factor of a request made: its candidates with what each holds, and the chosen one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from fgdm.requirements import Requirement
from PIL import Image

if TYPE_CHECKING:
    from fgdm import _core


@dataclass(frozen=True, eq=False)
class Candidate:
    """One of the N maps of a factor.

    index: its place, 0-based. seed: of the request; seed and index determine the map's noise.
    recall: found / requested classes, 0 to 1 (1 if none was requested).
    found, missing: class names, in the order of the request.
    smallest_area: the least area of a found class, as a fraction of the map; 0 if none.
    map: RGB; of a factor that makes labels in exact palette colours. labels: uint8 (h, w), class
    indices; 255 is unlabeled. Of a factor that makes pictures they are empty, and recall is 1.
    steps: sampled, 0 of a map that was given. pruned: whether it was dropped before its last step;
    then map and recall are those of what it was about to become. failed: whether its latent, or the
    picture that a decoder made of it, was not finite (NaN or infinite, which lower precision can
    do); then it holds nothing and can't be chosen.
    met: whether the map meets each of the factor's requirements; None where a map can't say.
    compliance: met / checked requirements, 1 if there are none. refused: what the map holds that
    must not be painted, so that it can't be chosen; "" if nothing.
    """

    index: int
    seed: int
    recall: float
    found: tuple[str, ...]
    missing: tuple[str, ...]
    smallest_area: float
    map: Image.Image
    labels: npt.NDArray[np.uint8]
    steps: int
    pruned: bool
    failed: bool
    met: tuple[bool | None, ...] = ()
    compliance: float = 1.0
    refused: str = ""

    @classmethod
    def from_core(cls, core: _core.Candidate) -> Candidate:
        """Takes over the core's arrays as pictures."""
        return cls(
            index=core.index,
            seed=core.seed,
            recall=core.recall,
            found=tuple(core.found),
            missing=tuple(core.missing),
            smallest_area=core.smallest_area,
            map=Image.fromarray(core.map),
            labels=core.labels,
            steps=core.steps,
            pruned=core.pruned,
            failed=core.failed,
            met=tuple(core.met),
            compliance=core.compliance,
            refused=core.refused,
        )

    def to_json(self) -> dict[str, object]:
        """Everything but the pixels."""
        return {
            "index": self.index,
            "seed": self.seed,
            "recall": self.recall,
            "found": list(self.found),
            "missing": list(self.missing),
            "smallest_area": self.smallest_area,
            "steps": self.steps,
            "pruned": self.pruned,
            "failed": self.failed,
            "met": list(self.met),
            "compliance": self.compliance,
            "refused": self.refused,
        }


@dataclass(frozen=True, eq=False)
class MapInfo:
    """What a map callback sees: a map of a request that is at work.

    factor: which one's. candidate: the map, and what it holds, after so many of `num_steps` steps;
    with fewer, it is what the candidate is about to become (predicted x0). chosen: whether the
    request goes on with it, as it does with a map that was given.
    """

    factor: str
    candidate: Candidate
    num_steps: int
    chosen: bool

    @classmethod
    def from_core(
        cls, factor: str, candidate: _core.Candidate, num_steps: int, chosen: bool
    ) -> MapInfo:
        """Takes over the core's arrays as pictures."""
        return cls(factor, Candidate.from_core(candidate), num_steps, chosen)


@dataclass(frozen=True, eq=False)
class FactorResult:
    """What became of one condition factor.

    candidates: its maps. Of a factor that was sampled jointly with the one whose recall decides,
    and of a map that was given, only the one that was kept. chosen: index into candidates.
    map, labels, recall: of the chosen one. given: whether the request brought the map;
    unknown_pixels: how many of its pixels have a colour that is near none of the palette's.
    requested, excluded: classes of the factor's own prompt, as in Result.
    truncated, negative_truncated: the ends of prompts of the factor's own that the text encoder
    doesn't read. timings: seconds per stage. requirements, not_understood: as in Result.
    """

    candidates: tuple[Candidate, ...]
    chosen: int
    given: bool
    requested: tuple[str, ...]
    excluded: tuple[str, ...]
    unknown_pixels: int
    truncated: str
    negative_truncated: str
    timings: Mapping[str, float]
    requirements: tuple[Requirement, ...] = ()
    not_understood: tuple[str, ...] = ()

    @property
    def map(self) -> Image.Image:
        """The chosen map, RGB."""
        return self.candidates[self.chosen].map

    @property
    def labels(self) -> npt.NDArray[np.uint8]:
        """The chosen map's class indices, uint8 (h, w); empty of a factor that makes pictures."""
        return self.candidates[self.chosen].labels

    @property
    def recall(self) -> float:
        """Found / requested classes of the chosen map."""
        return self.candidates[self.chosen].recall

    @classmethod
    def from_core(cls, core: _core.FactorResult) -> FactorResult:
        """Takes over the core's arrays as pictures."""
        return cls(
            candidates=tuple(Candidate.from_core(candidate) for candidate in core.candidates),
            chosen=core.chosen,
            given=core.given,
            requested=tuple(core.requested),
            excluded=tuple(core.excluded),
            unknown_pixels=core.unknown_pixels,
            truncated=core.truncated,
            negative_truncated=core.negative_truncated,
            timings=dict(core.timings),
            requirements=tuple(Requirement(*one) for one in core.requirements),
            not_understood=tuple(core.not_understood),
        )

    def to_json(self) -> dict[str, object]:
        """Everything but the pixels."""
        return {
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "chosen": self.chosen,
            "given": self.given,
            "requested": list(self.requested),
            "excluded": list(self.excluded),
            "unknown_pixels": self.unknown_pixels,
            "truncated": self.truncated,
            "negative_truncated": self.negative_truncated,
            "map": {"width": self.map.width, "height": self.map.height},
            "timings": dict(self.timings),
            "requirements": [one.to_json() for one in self.requirements],
            "not_understood": list(self.not_understood),
        }
