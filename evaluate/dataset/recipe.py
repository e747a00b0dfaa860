"""What a data set is made of: everything that its samples depend on, but for their number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fgdm.errors import RequestError

from .agreement import segmenter_identity
from .sources import Source

#: Options of a request that a recipe says in another way, or that would depend on the clock.
_OWN = {
    "seed": "every sample has its own, made from the data set's",
    "objects": "a prompts file says them for each prompt",
    "deadline": "what is late would be missing, and it is late on another machine",
}


@dataclass(frozen=True)
class Accepted:
    """What a sample must reach; 0 asks for nothing.

    recall, compliance: of the map. agreement: the mean intersection over union of the map's classes
    with those that a segmenter sees in the picture. All 0 to 1.
    """

    recall: float = 0.0
    compliance: float = 0.0
    agreement: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                raise RequestError(f"the least {name} is {value}, expected 0 to 1")


@dataclass(frozen=True)
class Recipe:
    """How samples are made.

    seed: 0 to 2^63 - 1, of which with a sample's index and its attempt the request's seed is made.
    source: of the prompts. optional: factors that make a map only for who asks for it. options: of
    ``Engine.submit``, as JSON has them. accepted: what a sample must reach. attempts: how often a
    sample that doesn't is begun anew, with another seed, before its index stays empty. segmenter:
    FILE.onnx or MODULE:FUNCTION, which sees how far picture and map agree; "" for none.

    Raises RequestError for values that aren't allowed or don't go together.
    """

    source: Source
    seed: int = 0
    optional: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    accepted: Accepted = Accepted()
    attempts: int = 1
    segmenter: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise RequestError(f"the seed is {self.seed}, expected 0 to 2^63 - 1")
        if not 1 <= self.attempts <= 1000:
            raise RequestError(f"attempts is {self.attempts}, expected 1 to 1000")
        for name, why in _OWN.items():
            if name in self.options:
                raise RequestError(f"the options of a data set can't have {name}: {why}")
        if not isinstance(self.options.get("factors") or {}, Mapping):
            raise RequestError(
                f"the option factors is {self.options['factors']!r:.100}, expected an object such "
                'as {"depth": {}}'
            )
        if self.accepted.agreement and not self.segmenter:
            raise RequestError(
                "a least agreement of map and picture needs a segmenter that sees the picture"
            )

    def request(self) -> dict[str, Any]:
        """The options of every request."""
        factors: dict[str, Any] = {name: {} for name in self.optional}
        factors |= self.options.get("factors") or {}
        return {**self.options, "factors": factors or None}

    def identity(self) -> dict[str, Any]:
        """What two data sets must share to be one: plain JSON."""
        return {
            "seed": self.seed,
            "source": self.source.describe(),
            "optional": list(self.optional),
            "options": dict(self.options),
            "accepted": dict(vars(self.accepted)),
            "attempts": self.attempts,
            "segmenter": segmenter_identity(self.segmenter) if self.segmenter else None,
        }
