"""Which prompts to look at: worst, median and best ones, and where two settings differ most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Scores that are no quality of a picture.
_OTHER = ("seconds",)
#: The scores to rank by come first; those of the user's scorers come before all of them.
_OWN = ("picture_recall", "map_recall", "compliance", "picture_iou")


def ranking_keys(setting: Mapping[str, Any]) -> list[str]:
    """The scores that prompts are ranked by, of which later ones decide among equals."""
    scores = setting["scores"]
    of_scorers = [key for key in scores if key not in (*_OTHER, *_OWN)]
    return [*of_scorers, *(key for key in _OWN if key in scores)]


def extremes(setting: Mapping[str, Any], count: int = 3) -> dict[str, list[int]]:
    """Numbers of prompts: `count` of the worst, of those in the middle and of the best; fewer where
    there aren't so many."""
    keys = ranking_keys(setting)
    values = [setting["scores"][key]["by_prompt"] for key in keys]
    number = len(setting["scores"]["seconds"]["by_prompt"])
    order = sorted(range(number), key=lambda i: tuple(one[i] for one in values))
    count = min(count, max(1, number // 3))
    middle = max(0, (number - count) // 2)
    return {
        "worst": order[:count],
        "median": order[middle : middle + count],
        "best": order[-count:][::-1],
    }


def most_different(
    setting: Mapping[str, Any], base: Mapping[str, Any], distances: Sequence[float], count: int = 4
) -> list[int]:
    """Numbers of the prompts where two settings differ most by the first score that tells them
    apart, and among equals by the distance of their pictures."""
    keys = [key for key in ranking_keys(setting) if key in base["scores"]]

    def difference(i: int) -> tuple[float, ...]:
        apart = (
            abs(setting["scores"][key]["by_prompt"][i] - base["scores"][key]["by_prompt"][i])
            for key in keys[:1]
        )
        return (*apart, distances[i])

    return sorted(range(len(distances)), key=difference, reverse=True)[:count]
