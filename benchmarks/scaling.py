"""Time and memory as the number of maps, the image's size and the steps grow.

python -m benchmarks.scaling bundles/scenes --output out/scaling.json

Every point has a process of its own, so that no memory is left from the point before. A straight
line is fitted to each axis: R² near 1 says that twice as much costs twice as much. Over pixels it
need not be: self-attention grows with their square.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fgdm import Engine

from benchmarks.command import PROMPT, engine_options, make_parser
from benchmarks.machine import write_results
from benchmarks.process_memory import memory_mb, peak_memory_mb
from benchmarks.statistics import fit_line

#: What a point asks for, apart from what grows.
REQUEST = {"candidates": 4, "condition_steps": 5, "num_inference_steps": 5}


@dataclass(frozen=True)
class Axis:
    """One thing that grows, by its argument of ``Engine.generate``; "size" is height and width."""

    title: str
    argument: str
    values: tuple[int, ...]

    def options(self, value: int) -> dict[str, int]:
        """The request of a point."""
        if self.argument == "size":
            return {**REQUEST, "height": value, "width": value}
        return {**REQUEST, self.argument: value}

    def amount(self, value: int) -> int:
        """What the line is drawn over: pixels where the size grows."""
        return value * value if self.argument == "size" else value


AXES = {
    "candidates": Axis("maps", "candidates", (1, 2, 4, 8, 16)),
    "size": Axis("pixels", "size", (64, 128, 192, 256)),
    "condition_steps": Axis("steps a map", "condition_steps", (5, 10, 20, 40)),
    "num_inference_steps": Axis("steps of the image", "num_inference_steps", (5, 10, 20, 40)),
}


def measure_point(
    options: Mapping[str, Any], bundle: Path, engine: Mapping[str, Any], runs: int
) -> dict[str, Any]:
    """Median seconds of a request, this process's memory (with the bundle loaded, and the peak of
    the requests), and the runtime."""
    with Engine(bundle, **engine) as loaded:
        idle = memory_mb()
        info = loaded.info
        results = [
            loaded.generate(PROMPT, seed=i, stop_at_recall=0.0, **options) for i in range(runs + 1)
        ]
    seconds = [result.timings["total"] for result in results[1:]]  # the first is the warm-up
    return {
        "seconds": statistics.median(seconds),
        "loaded_mb": idle,
        "peak_mb": peak_memory_mb(),
        "runtime": f"{info.runtime} {info.backend} {info.precision}",
    }


def fit(axis: Axis, points: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    """An axis's points, and the lines of time (seconds) and memory (MB) over what grows."""
    amounts = [axis.amount(value) for value in points]
    return {
        "title": axis.title,
        "points": {str(value): dict(point) for value, point in points.items()},
        "time": fit_line(amounts, [point["seconds"] for point in points.values()]).to_json(),
        "memory": fit_line(amounts, [point["peak_mb"] for point in points.values()]).to_json(),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    parser.add_argument("--runs", type=int, default=3, help="of each point; the median counts")
    given = parser.parse_args(arguments)
    results: dict[str, Any] = {"options": REQUEST, "runs": given.runs, "threads": given.threads}
    point = partial(
        measure_point, bundle=given.bundle, engine=engine_options(given), runs=given.runs
    )
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for name in given.axes:
            axis = AXES[name]
            requests = [axis.options(value) for value in axis.values]
            points = {}
            for value, taken in zip(axis.values, pool.imap(point, requests), strict=True):
                results["runtime"] = taken.pop("runtime")
                points[value] = taken
                print(
                    f"{name} {value}: {taken['seconds']:.2f} s, {taken['peak_mb']:.0f} MB",
                    file=sys.stderr,
                    flush=True,
                )
            results[name] = fit(axis, points)
    print(f"{'':<20}{'s each':>10}{'R²':>7}{'MB each':>10}{'R²':>7}")
    for name in given.axes:
        time, memory = results[name]["time"], results[name]["memory"]
        print(
            f"{AXES[name].title:<20}{time['slope']:10.2g}{time['r_squared']:7.3f}"
            f"{memory['slope']:10.2g}{memory['r_squared']:7.3f}"
        )
    write_results(given.output, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
