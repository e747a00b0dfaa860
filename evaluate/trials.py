"""How many maps had to be sampled until one was good enough (FG-DM, section 4 and Figure 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: What is called good enough: the shares of Figure 7, and all that was asked for.
THRESHOLDS = (0.7, 0.8, 1.0)

#: One result, as result.json holds it.
Result = Mapping[str, Any]


@dataclass(frozen=True)
class Trials:
    """The trials that prompts needed, each map being one, in the order of their seeds.

    of: "recall" or "compliance". threshold: the value, 0 to 1, that a map has to reach. histogram:
    of how many prompts map 1, 2, … was the first to reach it. never: of how many none did.
    """

    of: str
    threshold: float
    histogram: tuple[int, ...]
    never: int

    @classmethod
    def counted(cls, of: str, threshold: float, values: Sequence[Sequence[float]]) -> Trials:
        """From the values of each prompt's maps, as many for each prompt.

        Raises ValueError for prompts with different numbers of maps, and for none.
        """
        numbers = {len(maps) for maps in values}
        if len(numbers) != 1 or numbers == {0}:
            raise ValueError(f"expected as many maps of every prompt, got {sorted(numbers)}")
        histogram, never = [0] * numbers.pop(), 0
        for maps in values:
            reached = [trial for trial, value in enumerate(maps) if value >= threshold]
            if reached:
                histogram[reached[0]] += 1
            else:
                never += 1
        return cls(of, threshold, tuple(histogram), never)

    @property
    def prompts(self) -> int:
        """How many were counted."""
        return sum(self.histogram) + self.never

    @property
    def mean(self) -> float | None:
        """The mean number of trials of the prompts that reached the threshold; None: none did."""
        reached = sum(self.histogram)
        trials = sum(trial * count for trial, count in enumerate(self.histogram, 1))
        return trials / reached if reached else None

    def within(self, trials: int) -> float:
        """The share of all prompts that needed so many trials or fewer."""
        return sum(self.histogram[:trials]) / self.prompts

    def to_json(self) -> dict[str, Any]:
        """All fields; prompts, mean, never_share, and within: the shares after 1, 2, … trials."""
        return {
            "of": self.of,
            "threshold": self.threshold,
            "prompts": self.prompts,
            "histogram": list(self.histogram),
            "never": self.never,
            "never_share": self.never / self.prompts,
            "mean": self.mean,
            "within": [self.within(trials) for trials in range(1, len(self.histogram) + 1)],
        }


def trials_of(results: Sequence[Result]) -> list[Trials]:
    """Trials by recall, and by compliance where more than classes that are there is checked.

    Every candidate of every result was finished. Prompts that ask for nothing that a map can show
    are left out: their first map would reach anything.
    """
    asking = {"recall": [result for result in results if result["requested"]]}
    if any(map(_asks_for_more, results)):
        asking["compliance"] = [
            result for result in results if result["requested"] or _asks_for_more(result)
        ]
    return [
        Trials.counted(of, threshold, [[one[of] for one in r["candidates"]] for r in chosen])
        for of, chosen in asking.items()
        if chosen
        for threshold in THRESHOLDS
    ]


def _asks_for_more(result: Result) -> bool:
    return any(one["kind"] in ("count", "relation", "absent") for one in result["requirements"])
