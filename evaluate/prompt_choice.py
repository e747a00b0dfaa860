"""Fewer prompts that stand for many (segmentation-free guidance, section 5.3).

First a random part whose text embeddings lie as those of all do, by their Fréchet distance; then of
its prompts those around percentiles of a score.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .metrics import Evidence, frechet_distance

#: Of high, middling and low scores, as in the paper.
PERCENTILES = (90.0, 50.0, 10.0)


def random_part(count: int, size: int, seed: int) -> list[int]:
    """`size` of `count` numbers, ascending; a larger part of the same seed holds a smaller one."""
    if not 1 <= size <= count:
        raise ValueError(f"{size} of {count} prompts; expected 1 to {count}")
    return sorted(int(i) for i in np.random.default_rng(seed).permutation(count)[:size])


def distances_of_parts(
    embeddings: NDArray[np.floating], sizes: Sequence[int], seed: int
) -> dict[int, float]:
    """By its size, the Fréchet distance of each random part's embeddings (n, d) to all (Figure 10).
    0 of all of them."""
    count = len(embeddings)
    parts = {size: random_part(count, size, seed) for size in sizes}
    return {
        size: frechet_distance(Evidence(embeddings[part], embeddings))
        for size, part in parts.items()
    }


def around_percentiles(
    scores: Sequence[float], count: int, percentiles: Sequence[float] = PERCENTILES
) -> dict[float, list[int]]:
    """By percentile, the numbers of an equal share of `count` prompts whose ranks by score are the
    nearest to it; the shares have no prompt in common.

    Raises ValueError where there are too few prompts for that.
    """
    share, rest = divmod(count, len(percentiles))
    if rest or not share:
        raise ValueError(f"{count} prompts in {len(percentiles)} equal shares")
    order = np.argsort(np.asarray(scores, np.float64), kind="stable")
    found = {}
    for percentile in percentiles:
        centre = percentile / 100 * (len(order) - 1)
        first = int(np.clip(round(centre - (share - 1) / 2), 0, max(0, len(order) - share)))
        found[percentile] = [int(i) for i in order[first : first + share]]
    if len({i for part in found.values() for i in part}) < count:
        raise ValueError(f"{len(order)} prompts are too few for {count} around {percentiles}")
    return found
