"""Metrics of a set of pictures: pure functions of one `Evidence`, whose rows belong to prompts.

The arithmetic of Fréchet distance and Inception score is torchmetrics'.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from fgdm.statistics import Indices
from numpy.typing import NDArray

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Evidence:
    """What metrics see. A row belongs to a prompt, but in the reference.

    features: (n, d), what a network sees in the made pictures. reference: (m, d), what it sees in
    those that they should be like. logits: (n, classes) of a classifier. confusion: (n, c, c + 1),
    pixels by the map's class and, along the last axis, the class seen in the picture; the last
    column is for what is none of them. distances: (n, n), between pictures.
    """

    features: Array | None = None
    reference: Array | None = None
    logits: Array | None = None
    confusion: NDArray[np.int64] | None = None
    distances: Array | None = None

    def __len__(self) -> int:
        """How many pictures were made."""
        own = (self.features, self.logits, self.confusion, self.distances)
        return next((len(values) for values in own if values is not None), 0)

    def take(self, rows: Indices) -> Evidence:
        """The evidence of some prompts, of which some may occur several times."""

        def taken(values: Any) -> Any:
            return None if values is None else values[rows]

        return Evidence(
            taken(self.features),
            self.reference,
            taken(self.logits),
            taken(self.confusion),
            None if self.distances is None else self.distances[np.ix_(rows, rows)],
        )


#: What all metrics are. ValueError where the evidence lacks what a metric needs.
Metric = Callable[[Evidence], float]


class _AsTheyAre(torch.nn.Module):
    """A feature network whose pictures are features already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def frechet_distance(evidence: Evidence) -> float:
    """Between Gaussians with the means and covariances of both sets of features (Heusel et al.,
    2017). FID if these are Inception-v3's; with fewer pictures than features it is biased a lot."""
    from torchmetrics.image.fid import FrechetInceptionDistance  # noqa: PLC0415 (seconds)

    made, reference = _features(evidence)
    metric = FrechetInceptionDistance(feature=_AsTheyAre(made.shape[1]))
    metric.set_dtype(torch.float64)
    metric.update(reference, real=True)
    metric.update(made, real=False)
    return float(metric.compute())


def precision(evidence: Evidence, neighbours: int = 3) -> float:
    """The share of made pictures within the reach of a reference picture: the distance to its
    `neighbours`-th nearest among its own (Kynkäänniemi et al., 2019)."""
    made, reference = _features(evidence)
    return _covered(made, reference, neighbours)


def recall(evidence: Evidence, neighbours: int = 3) -> float:
    """The share of reference pictures within the reach of a made picture; see `precision`."""
    made, reference = _features(evidence)
    return _covered(reference, made, neighbours)


def inception_score(evidence: Evidence, splits: int = 10) -> float:
    """exp of the mean KL divergence of a picture's classes from those of all (Salimans et al.,
    2016); the mean over `splits` parts of the pictures, shuffled always alike."""
    from torchmetrics.image.inception import InceptionScore  # noqa: PLC0415

    logits = _needed(evidence.logits, "logits")
    if len(logits) < splits:
        raise ValueError(f"Inception score of {len(logits)} pictures in {splits} parts; take more")
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # It says that it keeps all logits, which are here already, and that one part has no spread.
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        metric = InceptionScore(feature=_AsTheyAre(logits.shape[1]), splits=splits)
        metric.update(torch.from_numpy(np.ascontiguousarray(logits, np.float64)))
        return float(metric.compute()[0])


def diversity(evidence: Evidence) -> float:
    """The mean distance of two different pictures: of a distance network (LPIPS), or without its
    distances the cosine distance of features."""
    distances = evidence.distances
    if distances is None:
        distances = cosine_distances(_needed(evidence.features, "features"))
    n = len(distances)
    if n < 2:
        raise ValueError(f"diversity of {n} pictures; expected at least two")
    return float((distances.sum() - np.trace(distances)) / (n * (n - 1)))


def cosine_distances(features: Array) -> Array:
    """(n, n): 1 - the cosine of the angle between each two rows."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = np.asarray(features, np.float64) / np.where(norms, norms, 1)
    return np.asarray(1 - unit @ unit.T)


def mean_iou(evidence: Evidence) -> float:
    """Of all pixels together, the mean of the classes' intersections over unions of map and picture
    (FG-DM, Table 13); classes that neither has are left out."""
    intersections, unions, _ = _overlaps(evidence)
    return float(np.mean(intersections[unions > 0] / unions[unions > 0]))


def frequency_weighted_iou(evidence: Evidence) -> float:
    """As `mean_iou`, each class weighted by its share of the maps' pixels (FG-DM, Table 13)."""
    intersections, unions, pixels = _overlaps(evidence)
    shares = pixels / pixels.sum()
    return float(np.sum(shares * intersections / np.where(unions, unions, 1)))


def confusion_of(
    labels: NDArray[np.uint8], seen: NDArray[np.uint8], classes: int
) -> NDArray[np.int64]:
    """(classes, classes + 1) pixels of one map, by its class and that seen in the picture; both are
    (h, w). Pixels without a class in the map don't count."""
    inside = labels < classes
    pairs = labels[inside].astype(np.int64) * (classes + 1) + np.minimum(seen[inside], classes)
    return np.bincount(pairs, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def _overlaps(evidence: Evidence) -> tuple[Array, Array, Array]:
    """Of each class pixels in both, in either, and in the map."""
    confusion = _needed(evidence.confusion, "confusion of maps and pictures").sum(0).astype(float)
    if not confusion.sum():
        raise ValueError("no pixel of any map has a class")
    both = np.diagonal(confusion)
    maps = confusion.sum(1)
    return both, maps + confusion[:, :-1].sum(0) - both, maps


def _covered(points: torch.Tensor, centres: torch.Tensor, neighbours: int) -> float:
    if len(centres) <= neighbours:
        raise ValueError(
            f"{len(centres)} pictures have no {neighbours}-th neighbours; take more of them"
        )
    exact = "donot_use_mm_for_euclid_dist"
    own = torch.cdist(centres, centres, compute_mode=exact)
    reach = own.kthvalue(neighbours + 1).values  # the nearest is the picture itself
    near = torch.cdist(points, centres, compute_mode=exact) <= reach
    return float(near.any(1).double().mean())


def _features(evidence: Evidence) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the made pictures and of the reference, float64."""
    made = _needed(evidence.features, "features")
    reference = _needed(evidence.reference, "reference")
    if made.shape[1] != reference.shape[1]:
        raise ValueError(f"features of {made.shape[1]} and of {reference.shape[1]} numbers")
    if min(len(made), len(reference)) < 2:
        raise ValueError("a distribution of one picture; expected at least two of each")
    return (
        torch.from_numpy(np.ascontiguousarray(made, np.float64)),
        torch.from_numpy(np.ascontiguousarray(reference, np.float64)),
    )


def _needed(values: Any, what: str) -> Any:
    if values is None:
        raise ValueError(f"there are no {what}")
    return values
