"""Statistics of benchmarks: summaries, straight lines, and bootstrap intervals over prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

#: A result that reaches one of these counts at it (FG-DM, Table 3; 1.0 is everything found).
RECALL_THRESHOLDS = (0.5, 0.75, 0.9, 1.0)

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds of its confidence interval."""

    estimate: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class Line:
    """A least-squares fit y = intercept + slope x, and the share of y's variance it explains."""

    slope: float
    intercept: float
    r_squared: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def summary(values: ArrayLike) -> dict[str, float]:
    """Least, median, largest and mean of some numbers."""
    numbers = np.asarray(values, np.float64)
    if not numbers.size:
        raise ValueError("summary of no values; expected at least one")
    return {
        "min": float(numbers.min()),
        "median": float(np.median(numbers)),
        "max": float(numbers.max()),
        "mean": float(numbers.mean()),
    }


def psnr(picture: ArrayLike | Image.Image, expected: ArrayLike | Image.Image) -> float:
    """Of two pictures in 0..255, in dB; at most 168, which is no difference."""
    difference = np.asarray(picture, np.float64) - np.asarray(expected, np.float64)
    return float(10 * np.log10(255**2 / max(float(np.mean(difference**2)), 1e-12)))


def latencies(seconds: ArrayLike) -> dict[str, float]:
    """Percentiles of response times; with few of them p95 and p99 are near the largest."""
    p50, p95, p99 = np.percentile(np.asarray(seconds, np.float64), [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99)}


def shares(recalls: ArrayLike) -> dict[str, float]:
    """The share of values that reach each threshold."""
    numbers = np.asarray(recalls, np.float64)
    return {str(limit): float((numbers >= limit).mean()) for limit in RECALL_THRESHOLDS}


def fit_line(x: ArrayLike, y: ArrayLike) -> Line:
    """The least-squares line through at least two different x."""
    inputs, outputs = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if np.unique(inputs).size < 2:
        raise ValueError(f"a line needs two different x, got {np.unique(inputs).tolist()}")
    slope, intercept = np.polyfit(inputs, outputs, 1)
    residual = float(((outputs - intercept - slope * inputs) ** 2).sum())
    variance = float(((outputs - outputs.mean()) ** 2).sum())
    return Line(float(slope), float(intercept), 1.0 - residual / variance if variance else 1.0)


def bootstrap(
    statistic: Callable[[Indices], float],
    count: int,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The percentile bootstrap of a statistic of `count` observations (Efron, 1979).

    statistic: its value for a list of observations, given by index. A difference of two systems
    that looks both up by the same indices is paired: what a prompt is worth to both cancels out.
    """
    if count < 1:
        raise ValueError(f"bootstrap of {count} observations; expected at least one")
    rng = np.random.default_rng(seed)
    drawn = [statistic(rng.integers(0, count, count)) for _ in range(resamples)]
    tail = 50 * (1 - confidence)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Interval(statistic(np.arange(count)), float(low), float(high))


def paired_difference(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Interval:
    """The mean of a - b over observations that belong together, with its 95 % interval."""
    if len(a) != len(b):
        raise ValueError(f"paired values differ in number: {len(a)} and {len(b)}")
    differences = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return bootstrap(lambda chosen: float(differences[chosen].mean()), len(differences), seed=seed)


def paired_ratio(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Interval:
    """The sum of a over the sum of b, resampled together, with its 95 % interval."""
    if len(a) != len(b):
        raise ValueError(f"paired values differ in number: {len(a)} and {len(b)}")
    above, below = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return bootstrap(
        lambda chosen: float(above[chosen].sum() / below[chosen].sum()), len(above), seed=seed
    )
