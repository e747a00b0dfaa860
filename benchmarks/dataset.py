"""Samples a second of a data set beside the pictures a second of the engine alone.

python -m benchmarks.dataset bundles/scenes --output benchmarks/results/dataset.json

The same requests on one engine, in turn: through `fgdm.evaluate.dataset`, which writes a folder,
and by `submit` alone, whose results are dropped. Each round has both, in alternating order, and
intervals are over rounds. Where other work disturbs them, what the writing thread takes of the
processor still says what a data set costs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fgdm.evaluate.dataset import Maker, Recipe, Setup, World
from fgdm.evaluate.dataset.run import IN_FLIGHT
from fgdm.evaluate.dataset.sources import derived_seed
from fgdm.evaluate.dataset.store import Store
from fgdm.job import Job
from fgdm.statistics import paired_ratio

from benchmarks.command import engine_options, make_parser
from benchmarks.machine import write_results
from benchmarks.process_memory import memory_mb


def through_the_engine(maker: Maker, recipe: Recipe, indices: range, in_flight: int) -> None:
    """The requests of the samples, `in_flight` at a time, and nothing else."""
    waiting: list[Job] = []
    for index in indices:
        if len(waiting) == in_flight:
            waiting.pop(0).result()
        prompt = recipe.source.prompt(recipe.seed, index).text
        seed = derived_seed("image", recipe.seed, index)
        waiting.append(maker.engine.submit(prompt, seed=seed, **recipe.request()))
    for job in waiting:
        job.result()


def through_the_data_set(maker: Maker, indices: range, in_flight: int, folder: Path) -> None:
    """The same, as a data set's folder has them."""
    with Store(folder) as store:
        store.begin(maker.identity(), indices.stop)
        for made in maker.make(indices, in_flight):
            store.add(made)


def timed(work: Callable[[], None]) -> tuple[float, float, float]:
    """Seconds; processor seconds of all threads; and of this one, which doesn't run the engine."""
    clocks = (time.perf_counter, time.process_time, time.thread_time)
    began = [clock() for clock in clocks]
    work()
    wall, processor, own = (clock() - start for clock, start in zip(clocks, began, strict=True))
    return wall, processor, own


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--samples", type=int, default=24, help="of each side of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT)
    parser.add_argument("--candidates", type=int, help="maps of a sample; default: the engine's")
    given = parser.parse_args(arguments)
    options = {} if given.candidates is None else {"candidates": given.candidates}
    recipe = Recipe(World(), seed=1, options=options)
    engine = {**engine_options(given), "policy": "throughput"}
    rounds: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Setup(recipe, str(given.bundle), engine).open() as maker,
    ):
        through_the_engine(maker, recipe, range(2), 2)  # warm-up
        for number in range(given.rounds):
            indices = range(number * given.samples, (number + 1) * given.samples)
            sides: dict[str, Callable[[], None]] = {
                "engine": lambda i=indices: through_the_engine(  # type: ignore[misc]
                    maker, recipe, i, given.in_flight
                ),
                "dataset": lambda i=indices: through_the_data_set(  # type: ignore[misc]
                    maker, i, given.in_flight, Path(folder)
                ),
            }
            order = list(sides) if number % 2 == 0 else list(reversed(sides))
            taken = {side: timed(sides[side]) for side in order}
            rounds.append({**taken, "memory_mb": memory_mb()})
            print(
                f"round {number + 1}: engine {taken['engine'][0]:.1f} s, data set "
                f"{taken['dataset'][0]:.1f} s, {rounds[-1]['memory_mb']:.0f} MB",
                file=sys.stderr,
            )
        info = maker.engine.info
    ratios = {
        what: paired_ratio(
            [one["engine"][i] for one in rounds], [one["dataset"][i] for one in rounds]
        ).to_json()
        for i, what in enumerate(("throughput", "processor"))
    }
    ratios["own_share"] = paired_ratio(
        [one["dataset"][2] for one in rounds], [one["dataset"][1] for one in rounds]
    ).to_json()
    results: dict[str, Any] = {
        "runtime": f"{info.runtime} {info.backend} {info.precision}",
        "threads": given.threads,
        "in_flight": given.in_flight,
        "options": options,
        "samples": given.samples,
        "rounds": rounds,
        **ratios,
    }
    print(results["runtime"])
    for what, words in (
        ("throughput", "samples a second, of the engine's own"),
        ("processor", "of a sample's processor time, what the engine needs"),
        ("own_share", "of a sample's processor time, what judging and writing take"),
    ):
        one = ratios[what]
        print(f"{words}: {one['estimate']:.4f} ({one['low']:.4f} to {one['high']:.4f})")
    write_results(given.output, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
