"""Statistics of benchmarks beside `fgdm.statistics`: summaries, percentiles, shares, lines."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

#: A result that reaches one of these counts at it (FG-DM, Table 3; 1.0 is everything found).
RECALL_THRESHOLDS = (0.5, 0.75, 0.9, 1.0)


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
