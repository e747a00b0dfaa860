"""What evaluations ask of a network, whatever file it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pictures = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Seen:
    """features: (n, d). logits: (n, classes) of a classifier, None of other networks."""

    features: Floats
    logits: Floats | None = None


class FeatureNetwork(Protocol):
    """name: what tables call it. is_inception: whether it is the network of FID."""

    @property
    def name(self) -> str: ...

    @property
    def is_inception(self) -> bool: ...

    def see(self, pictures: Pictures) -> Seen:
        """Of (n, H, W, 3) pictures."""
        ...


class LabelNetwork(Protocol):
    """classes: names, in the order of its labels."""

    @property
    def name(self) -> str: ...

    @property
    def classes(self) -> Sequence[str]: ...

    def label(self, pictures: Pictures) -> Pictures:
        """Class indices (n, h, w) of (n, H, W, 3) pictures, of a size of its own."""
        ...


class DistanceNetwork(Protocol):
    """Such as LPIPS."""

    @property
    def name(self) -> str: ...

    def distances(self, a: Pictures, b: Pictures) -> Floats:
        """(n,), between the i-th pictures of (n, H, W, 3) each."""
        ...


class TextScorer(Protocol):
    """Anything that says how well a picture fits a text: more is better."""

    @property
    def name(self) -> str: ...

    def score(self, pictures: Pictures, texts: Sequence[str]) -> Floats:
        """(n,), of (n, H, W, 3) pictures and their prompts."""
        ...


@dataclass(frozen=True)
class Networks:
    """All that a run is measured with."""

    features: Sequence[FeatureNetwork] = ()
    labels: LabelNetwork | None = None
    distance: DistanceNetwork | None = None
    scorers: Sequence[TextScorer] = field(default_factory=tuple)


def resized(
    pictures: Pictures, size: tuple[int, int], filter: Image.Resampling = Image.Resampling.BILINEAR
) -> Pictures:
    """(n, H, W, 3) pictures, or (n, H, W) labels, in (height, width); Pillow's filters smooth what
    they make smaller."""
    if pictures.shape[1:3] == size:
        return pictures
    return np.stack(
        [np.asarray(Image.fromarray(one).resize((size[1], size[0]), filter)) for one in pictures]
    )
