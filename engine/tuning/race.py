"""Settings measured beside each other, prompt by prompt; what is clearly bad drops out early."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from fgdm.errors import BackendError
from fgdm.statistics import Interval, bootstrap, paired_difference, paired_ratio

#: Prompts of a race at least: of fewer no interval is worth its name.
FEWEST = 6
#: Prompts after which a setting may drop out.
_FEWEST_TO_DROP = 4
#: Seconds of what took no time that the clock could show.
_NO_TIME = 1e-9

Verdict = Literal["passes", "fails", "dropped"]
#: Quality and seconds of a setting on the prompt with this index.
Run = Callable[[int, "Setting"], tuple[float, float]]
#: Called with how many of the runs that are still to be expected are done.
Watch = Callable[[int, int], None]


@dataclass(frozen=True)
class Setting:
    """What is tried. options: arguments of ``Engine.generate``; fields: what they are called in the
    manifest, with the values that would be written."""

    name: str
    options: Mapping[str, Any]
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Bound:
    """What a setting must keep.

    "loss": its quality is at most `value` below that of the first setting, the careful one;
    "least": its quality is at least `value`. Both with 95 % confidence: the interval's worse end
    counts. Intervals are as wide as few prompts ask for (`bootstrap`, expanded).
    """

    kind: Literal["loss", "least"]
    value: float

    def quality(self, own: Sequence[float], careful: Sequence[float]) -> Interval:
        """What is held against the bound, with its interval over prompts."""
        if self.kind == "loss":
            return paired_difference(own, careful[: len(own)], expanded=True)
        values = np.asarray(own)
        return bootstrap(lambda chosen: float(values[chosen].mean()), len(own), expanded=True)

    def is_kept(self, quality: Interval) -> bool:
        """Whether even the worse end of the interval is within the bound."""
        return quality.low >= self._least

    def is_broken(self, own: Sequence[float], careful: Sequence[float]) -> bool:
        """Whether even the better end of the interval is out of the bound."""
        mean = float(np.mean(own))
        if self.kind == "loss":
            mean -= float(np.mean(careful[: len(own)]))
        return mean < self._least and self.quality(own, careful).high < self._least

    def can_be_broken(self, careful: Sequence[float]) -> bool:
        """Whether the careful setting has so much that it could be lost: where it finds nothing,
        nothing can be worse."""
        return self.kind == "least" or float(np.mean(careful)) > self.value

    @property
    def _least(self) -> float:
        return -self.value if self.kind == "loss" else self.value


@dataclass
class Row:
    """What was measured of a setting: on each prompt its quality and seconds; failure: what a
    runtime said that couldn't do it, "" otherwise."""

    setting: Setting
    qualities: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    dropped: bool = False
    failure: str = ""

    @property
    def mean_seconds(self) -> float:
        return sum(self.seconds) / len(self.seconds)


@dataclass(frozen=True)
class Judged:
    """A setting's row with its intervals: quality as the bound takes it, and seconds over those of
    the careful setting."""

    row: Row
    quality: Interval
    ratio: Interval
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        row = self.row
        return {
            "name": row.setting.name,
            "options": dict(row.setting.options),
            "prompts": len(row.qualities),
            "mean_quality": sum(row.qualities) / len(row.qualities),
            "quality": self.quality.to_json(),
            "mean_seconds": row.mean_seconds,
            "qualities": list(row.qualities),
            "seconds": list(row.seconds),
            "seconds_over_careful": self.ratio.to_json(),
            "verdict": self.verdict,
        }


def race(
    settings: Sequence[Setting], prompts: int, bound: Bound, run: Run, watch: Watch
) -> tuple[list[Judged], list[str]]:
    """Runs each setting on each prompt, the first one, the careful, always; what was found, and
    what was said of settings that failed on their first prompt, of which nothing is.

    The careful one is the first on each prompt, for what the others are compared with; their order
    turns with every prompt, so that a slow moment meets all. From the fourth prompt on a
    setting drops out as soon as the whole of its interval is out of the bound, and at once where
    the runtime can't do it (BackendError), such as by numbers that are not finite. Where it can't
    do the careful one the error passes on.
    """
    rows = [Row(setting) for setting in settings]
    careful = rows[0]
    done = 0
    for prompt in range(prompts):
        others = [row for row in rows[1:] if not row.dropped]
        turn = prompt % max(1, len(others))
        alive = [careful, *others[turn:], *others[:turn]]
        left = len(alive) * (prompts - prompt)
        for i, row in enumerate(alive):
            try:
                quality, seconds = run(prompt, row.setting)
            except BackendError as error:
                if row is careful:
                    raise
                row.dropped, row.failure = True, str(error)
            else:
                row.qualities.append(quality)
                row.seconds.append(max(seconds, _NO_TIME))
            watch(done + i + 1, done + left)
        done += len(alive)
        if prompt + 1 >= _FEWEST_TO_DROP:
            for row in others:
                if not row.dropped:
                    row.dropped = bound.is_broken(row.qualities, careful.qualities)
    failures = [f"{row.setting.name} failed: {row.failure}" for row in rows if row.failure]
    return [_judged(row, careful, bound) for row in rows if row.qualities], failures


def cheapest(judged: Sequence[Judged]) -> Judged:
    """Of those that pass the one that took the least time; the careful one always passes."""
    return min(
        (entry for entry in judged if entry.verdict == "passes"),
        key=lambda entry: entry.row.mean_seconds,
    )


def _judged(row: Row, careful: Row, bound: Bound) -> Judged:
    quality = bound.quality(row.qualities, careful.qualities)
    verdict: Verdict = "dropped" if row.dropped else "fails"
    kept = not row.dropped and bound.is_kept(quality) and bound.can_be_broken(careful.qualities)
    if row is careful or kept:
        verdict = "passes"
    ratio = paired_ratio(row.seconds, careful.seconds[: len(row.seconds)])
    return Judged(row, quality, ratio, verdict)
