"""Figures of one setting: scores, with a value for every prompt, and totals, of all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fgdm.statistics import Interval, bootstrap, paired_difference

from .metrics import Evidence, Metric
from .settings import Setting
from .trials import Trials

#: Totals are resampled so many times; of wider features not at all, which would take minutes.
_RESAMPLES = 100
_WIDEST = 512


@dataclass(frozen=True)
class Score:
    """One value a prompt. more_is_better: which way a setting wins by it."""

    title: str
    values: Sequence[float]
    more_is_better: bool = True

    def to_json(self) -> dict[str, Any]:
        """Mean with its 95 % interval over prompts, least, median, largest, and all values."""
        values = np.asarray(self.values, np.float64)
        mean = bootstrap(lambda chosen: float(values[chosen].mean()), len(values))
        return {
            "title": self.title,
            "more_is_better": self.more_is_better,
            "mean": mean.to_json(),
            "min": float(values.min()),
            "median": float(np.median(values)),
            "max": float(values.max()),
            "by_prompt": values.tolist(),
        }

    def compared_with(self, base: Score) -> dict[str, Any]:
        """difference: the mean of this - base; win_rate: the share of prompts where this is better,
        those where both are equal counted half. Both paired, with 95 % intervals."""
        own, other = np.asarray(self.values, float), np.asarray(base.values, float)
        better = own > other if self.more_is_better else own < other
        won = better + 0.5 * (own == other)
        win_rate = bootstrap(lambda chosen: float(won[chosen].mean()), len(won))
        return {
            "difference": paired_difference(own.tolist(), other.tolist()).to_json(),
            "win_rate": win_rate.to_json(),
        }


@dataclass(frozen=True)
class Total:
    """A metric of all prompts together. more_is_better: None where neither is."""

    title: str
    metric: Metric
    evidence: Evidence
    value: float
    more_is_better: bool | None = True

    @classmethod
    def measured(
        cls, title: str, metric: Metric, evidence: Evidence, more_is_better: bool | None = True
    ) -> Total:
        """Raises ValueError where the evidence isn't enough."""
        return cls(title, metric, evidence, metric(evidence), more_is_better)

    def to_json(self) -> dict[str, Any]:
        """The value."""
        return {"title": self.title, "more_is_better": self.more_is_better, "value": self.value}

    def compared_with(self, base: Total) -> dict[str, Any]:
        """difference: this - base, with a 95 % interval of a paired bootstrap over prompts, which
        is approximate: a prompt drawn twice makes any set of pictures less diverse."""
        estimate = self.value - base.value
        features = self.evidence.features
        if features is not None and features.shape[1] > _WIDEST:
            return {"difference": {"estimate": estimate, "low": None, "high": None}}

        def difference(rows: Any) -> float:
            taken = self.metric(self.evidence.take(rows)) - base.metric(base.evidence.take(rows))
            return float(taken)

        spread: Interval = bootstrap(difference, len(self.evidence), resamples=_RESAMPLES)
        return {"difference": spread.to_json()}


@dataclass
class Measured:
    """All figures of a setting.

    candidates: a row of FG-DM's Table 3, where all maps of all prompts were finished. trials: the
    histograms of its Figure 7, likewise. notes: what could not be measured, and why.
    """

    setting: Setting
    scores: dict[str, Score] = field(default_factory=dict)
    totals: dict[str, Total] = field(default_factory=dict)
    candidates: Mapping[str, float] | None = None
    trials: Sequence[Trials] = ()
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """pictures_per_second: one request at a time, or as many as were in flight."""
        seconds = self.scores["seconds"].values
        return {
            "name": self.setting.name,
            "options": dict(self.setting.options),
            "pictures_per_second": len(seconds) / sum(seconds) if sum(seconds) else None,
            "scores": {key: score.to_json() for key, score in self.scores.items()},
            "totals": {key: total.to_json() for key, total in self.totals.items()},
            "candidates": None if self.candidates is None else dict(self.candidates),
            "trials": [one.to_json() for one in self.trials],
        }


def compare(measured: Measured, base: Measured) -> dict[str, Any]:
    """A setting beside another, by every figure that both have."""
    return {
        "setting": measured.setting.name,
        "against": base.setting.name,
        "scores": {
            key: score.compared_with(base.scores[key])
            for key, score in measured.scores.items()
            if key in base.scores
        },
        "totals": {
            key: total.compared_with(base.totals[key])
            for key, total in measured.totals.items()
            if key in base.totals
        },
    }
