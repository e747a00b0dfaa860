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


def _compared(method: str, figure: str) -> tuple[str, ...]:
    return ("comparisons", method, figure, "estimate")


_PRUNED = ("settings", "prune=[3, 6]")
_STEPS = (("condition_steps", "steps a map"), ("num_inference_steps", "steps of the image"))

#: Of every benchmark that has some, by the name of its result file.
TARGETS: dict[str, tuple[Target, ...]] = {
    "generate": (
        Target("time outside the sessions", ("fgdm", "core_share"), at_most=0.02, percent=True),
        Target("time beside diffusers, float32", ("time_ratio",), at_most=1.0),
    ),
    "requirements": (
        Target(
            "all met, chosen by compliance over by recall, N = 10",
            ("maps", "10", "joint", "times_as_often", "estimate"),
            at_least=1.5,
        ),
        Target(
            "presence gained by it", ("maps", "10", "presence", "gain", "estimate"), at_least=0.0
        ),
        Target("time of checking ten maps", ("check_share",), at_most=0.01, percent=True),
    ),
    "compliance": (
        Target(
            "times as fast as base N = 10: N = 10, 10 steps",
            _compared("fgdm_10x10", "speedup"),
            at_least=4.0,
        ),
        Target(
            "picture's recall above base N = 10's: N = 10, 10 steps",
            _compared("fgdm_10x10", "picture_recall_gain"),
            at_least=0.0,
        ),
        Target(
            "map's recall, as the paper counts, above base N = 10's: N = 10, 10 steps",
            _compared("fgdm_10x10", "chosen_recall_gain"),
            at_least=0.0,
        ),
        Target(
            "times as fast as base N = 10: every saving",
            _compared("every_saving", "speedup"),
            at_least=8.0,
        ),
        Target(
            "picture's recall above base N = 10's: every saving",
            _compared("every_saving", "picture_recall_gain"),
            at_least=0.0,
        ),
        Target(
            "map rows saved by pruning",
            ("savings", "prune", "map_rows"),
            at_least=0.35,
            percent=True,
        ),
        Target(
            "best-of-ten recall lost by pruning",
            ("savings", "prune", "map_recall_loss", "estimate"),
            at_most=0.005,
        ),
    ),
    "guidance": (
        Target(
            "segmentation-free guidance: time beside classifier-free, at most",
            ("slowest_beside_cfg",),
            at_most=1.02,
        ),
    ),
    "attention": (
        Target(
            "attention beside standard ops, at SD 1.x's heads: times as fast",
            ("slowest_op_speedup",),
            at_least=1.5,
        ),
    ),
    "factor_tables": (
        Target(
            "picture's mIoU with the map",
            ("chains", "segmentation → image", "miou", "estimate"),
            at_least=0.5,
        ),
        Target(
            "pictures with everything found",
            ("chains", "segmentation → image", "everything_found", "estimate"),
            at_least=0.9,
            percent=True,
        ),
    ),
    "savings": (
        Target("map rows saved by pruning", (*_PRUNED, "rows_saved"), at_least=0.35, percent=True),
        Target("best-of-ten recall lost by pruning", (*_PRUNED, "lost"), at_most=0.005),
    ),
    "diffusers_baseline": (
        Target(
            "time beside diffusers' best, set for AMX", ("beside_best", "estimate"), at_most=0.85
        ),
        Target(
            "time beside diffusers in float32, set for AMX",
            ("beside_diffusers_float32", "estimate"),
            at_most=0.35,
        ),
        Target("time outside the sessions", ("core_share",), at_most=0.01, percent=True),
    ),
    "dataset": (
        Target(
            "samples a second of a data set, of the engine's own",
            ("throughput", "estimate"),
            at_least=0.95,
        ),
    ),
    "throughput": (
        Target(
            "16 clients beside one, on a GPU: times the images a second",
            ("gpu_gain_at_16",),
            at_least=3.0,
        ),
    ),
    "burst": (
        *(
            Target(
                f"p99 of a {what}'s step gap under a burst of 16, beside a step",
                ("factors", factor, "p99_per_step"),
                at_most=1.5,
            )
            for factor, what in (("segmentation", "map"), ("image", "picture"))
        ),
    ),
    "scaling": (
        *(
            Target(f"R² of a line of time over {axis}", (name, "time", "r_squared"), at_least=0.98)
            for name, axis in (("candidates", "maps"), *_STEPS)
        ),
        Target(
            "R² of a line of memory over maps", ("candidates", "memory", "r_squared"), at_least=0.95
        ),
        *(
            Target(f"MB that memory grows by {axis}", (name, "memory", "slope"), at_most=1.0)
            for name, axis in _STEPS
        ),
    ),
}
