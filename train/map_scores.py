"""How well maps agree with the truth. Every score is one number for each scene: (n,) float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .truth import Skeleton

Scores = dict[str, NDArray[np.float64]]


def depth_scores(truth: NDArray[np.float32], seen: NDArray[np.float32]) -> Scores:
    """Of (n, H, W) depths in 0..1: the share of pixels whose ratio is below 1.25, and the mean
    |seen - truth| / truth. Eigen et al. 2014."""
    seen = np.maximum(seen, 1 / 255)  # white is 0
    ratio = np.maximum(seen / truth, truth / seen)
    return {
        "delta_1.25": (ratio < 1.25).mean((1, 2), dtype=np.float64),
        "abs_rel": (np.abs(seen - truth) / truth).mean((1, 2), dtype=np.float64),
    }


def normal_scores(truth: NDArray[np.float32], seen: NDArray[np.float32]) -> Scores:
    """Of (n, H, W, 3) unit vectors: the mean angle between them, in degrees."""
    cosine = np.clip((truth * seen).sum(-1, dtype=np.float64), -1, 1)
    return {"mean_angle": np.degrees(np.arccos(cosine)).mean((1, 2))}


def sketch_scores(truth: NDArray[np.float32], seen: NDArray[np.float32]) -> Scores:
    """Of (n, H, W) strengths, a line being at least half as strong as a full one: F1 of precision
    (seen lines with a true one at most a pixel away, also diagonally) and recall (the reverse)."""
    lines, drawn = truth >= 0.5, seen >= 0.5
    precision = _share(drawn, _grown(lines))
    recall = _share(lines, _grown(drawn))
    total = precision + recall
    f1 = 2 * precision * recall / np.where(total > 0, total, 1)
    return {"f1": f1, "precision": precision, "recall": recall}


def pose_scores(
    truth: Sequence[Sequence[Skeleton]], seen: Sequence[Sequence[NDArray[np.float32]]]
) -> Scores:
    """Of persons in square pictures: PCK at 0.1, the share of the visible joints that are seen at
    most a tenth of the longer side of their person's box away (Yang and Ramanan 2013); and how many
    persons too many are seen.

    Large persons first, each is compared with the seen one that has most of its joints. Every scene
    of `truth` has a person.
    """
    correct, extra = [], []
    for skeletons, persons in zip(truth, seen, strict=True):
        left = list(persons)
        hits = total = 0
        for skeleton in sorted(skeletons, key=lambda skeleton: -skeleton.side):
            total += int(skeleton.joints[:, 2].sum())
            counts = [_hits(skeleton, person) for person in left]
            if counts:
                best = int(np.argmax(counts))
                hits += counts[best]
                del left[best]
        correct.append(hits / total)
        extra.append(len(persons) - len(skeletons))
    return {"pck_0.1": np.array(correct), "extra_persons": np.array(extra, np.float64)}


def _hits(skeleton: Skeleton, person: NDArray[np.float32]) -> int:
    visible = (skeleton.joints[:, 2] > 0) & (person[:, 2] > 0)
    distance = np.linalg.norm(skeleton.joints[:, :2] - person[:, :2], axis=1)
    return int((visible & (distance <= 0.1 * skeleton.side)).sum())


def _grown(lines: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n, H, W) lines and every pixel beside them."""
    padded = np.pad(lines, ((0, 0), (1, 1), (1, 1)))
    height, width = lines.shape[1:]
    shifts = [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.asarray(np.logical_or.reduce(shifts), np.bool_)


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The share of each scene's `part` that lies in `whole`; of nothing, none."""
    count = part.sum((1, 2))
    return np.asarray((part & whole).sum((1, 2)) / np.maximum(count, 1), np.float64)
