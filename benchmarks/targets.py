"""Targets: what a figure of a result file should come to, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Standing:
    """Where a target stands: the measured value, None where nothing was measured."""

    value: float | None
    reached: bool | None


@dataclass(frozen=True)
class Target:
    """A bound on one figure.

    what: in words. figure: the keys that lead to it in the benchmark's JSON. at_least, at_most:
    the bound, one of them. percent: whether to show the figure as a percentage.
    """

    what: str
    figure: tuple[str, ...]
    at_least: float | None = None
    at_most: float | None = None
    percent: bool = False

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"target {self.what!r} needs either at_least or at_most")

    def standing(self, results: Mapping[str, Any] | None) -> Standing:
        """Against a benchmark's results; None where it has not run."""
        value: Any = results
        for key in self.figure:
            if not isinstance(value, Mapping) or value.get(key) is None:
                return Standing(None, None)
            value = value[key]
        number = float(value)
        if self.at_least is not None:
            return Standing(number, number >= self.at_least)
        assert self.at_most is not None
        return Standing(number, number <= self.at_most)

    @property
    def bound(self) -> str:
        """The bound as a person reads it."""
        if self.at_least is not None:
            return f"≥ {self.shown(self.at_least)}"
        assert self.at_most is not None
        return f"≤ {self.shown(self.at_most)}"

    def shown(self, value: float) -> str:
        """A value of this figure as a person reads it."""
        return f"{100 * value:.2f} %" if self.percent else f"{value:.3g}"
