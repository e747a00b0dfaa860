"""A burst of requests beside one that is at work: how long that one waits for its next step.

python -m benchmarks.burst bundles/scenes --output out/burst.json

The burst comes after the first step of a map, or after the first one of the picture. A gap is the
time between two steps of the watched request in the same factor; the time from the last map to the
first step of the picture is told beside them. Requests of the burst are cancelled once the watched
one is done, and each has a prompt of its own.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np
from fgdm import CancelledError, Engine, StepInfo
from fgdm.train.prompts import HeldOutPrompt

from benchmarks.command import add_prompts, chosen_prompts, engine_options, make_parser
from benchmarks.machine import write_results

#: Factor of a step of the watched request, and when all candidates had taken it, in seconds.
Step = tuple[str, float]


def watched_steps(
    engine: Engine,
    prompts: list[HeldOutPrompt],
    options: dict[str, Any],
    burst: int,
    after: str | None,
) -> list[Step]:
    """The steps of a request for the first prompt. `burst` requests for the others arrive after its
    first step in the factor `after`; None: it stays alone.
    """
    steps: dict[tuple[str, int], float] = {}
    company: list[Any] = []

    def callback(info: StepInfo) -> None:
        steps[info.factor, info.step] = time.perf_counter()
        if info.factor == after and not company:
            company.extend(
                engine.submit(f"{one.prompt}, number {number}", seed=number, **options)
                for number, one in enumerate((prompts[1:] or prompts) * burst)
                if number < burst
            )

    engine.generate(prompts[0].prompt, seed=0, step_callback=callback, **options)
    for job in company:
        job.cancel()
    for job in company:
        with suppress(CancelledError):
            job.result()
    return [(factor, at) for (factor, _), at in steps.items()]


def gaps(steps: list[Step], factor: str) -> list[float]:
    """Seconds between the steps of a factor."""
    times = [at for name, at in steps if name == factor]
    return [float(gap) for gap in np.diff(times)]


def change(steps: list[Step]) -> float:
    """Seconds from the last step of one factor to the first of the next, at most."""
    return max((b[1] - a[1] for a, b in pairwise(steps) if a[0] != b[0]), default=0.0)


def describe(alone: list[list[Step]], burst: list[list[Step]], factor: str) -> dict[str, float]:
    """Of one factor: gaps alone, and beside a burst. Where every second step is a shallow one, gaps
    are short and long in turns: p99 beside p99 tells what a burst adds."""
    by_step = np.array([gaps(steps, factor) for steps in alone])
    step, p99_alone = (float(value) for value in np.percentile(np.median(by_step, 0), [50, 99]))
    beside = [gap for steps in burst for gap in gaps(steps, factor)]
    p50, p99 = (float(value) for value in np.percentile(beside, [50, 99]))
    return {
        "step": step,
        "p99_alone": p99_alone,
        "p50": p50,
        "p99": p99,
        "worst": max(beside),
        "p99_per_step": p99 / p99_alone,
        "change_alone": float(np.median([change(steps) for steps in alone])),
        "change": float(np.median([change(steps) for steps in burst])),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add_prompts(parser)
    parser.add_argument("--burst", type=int, default=16, help="requests that come at once")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--condition-steps", type=int, default=10)
    parser.add_argument("--num-inference-steps", type=int, default=20)
    given = parser.parse_args(arguments)
    options = {
        "candidates": given.candidates,
        "condition_steps": given.condition_steps,
        "num_inference_steps": given.num_inference_steps,
        "stop_at_recall": 0.0,  # as much work for every prompt
    }
    prompts = chosen_prompts(given)
    with Engine(given.bundle, **engine_options(given)) as engine:
        watched_steps(engine, prompts, options, 0, None)  # warm-up
        seen = watched_steps(engine, prompts, options, 0, None)
        factors = list(dict.fromkeys(name for name, _ in seen))
        alone: list[list[Step]] = []
        beside: dict[str, list[list[Step]]] = {factor: [] for factor in factors}
        for _ in range(given.repeats):  # a slow moment meets all of them
            alone.append(watched_steps(engine, prompts, options, 0, None))
            for factor in factors:
                beside[factor].append(watched_steps(engine, prompts, options, given.burst, factor))
        info = engine.info
    results = {
        "options": options,
        "burst": given.burst,
        "repeats": given.repeats,
        "threads": given.threads,
        "runtime": f"{info.runtime} {info.backend} {info.precision}",
        "factors": {factor: describe(alone, beside[factor], factor) for factor in factors},
    }
    print(f"{results['runtime']}, a burst of {given.burst}, milliseconds")
    print(
        f"{'':<14}{'step':>8}{'p99':>8}{'beside: p50':>13}{'p99':>8}{'worst':>8}{'p99/p99':>10}"
        f"{'change':>9}{'alone':>8}"
    )
    for factor, figures in results["factors"].items():
        print(
            f"{factor:<14}"
            + "".join(f"{1000 * figures[key]:8.0f}" for key in ("step", "p99_alone"))
            + f"{1000 * figures['p50']:13.0f}"
            + "".join(f"{1000 * figures[key]:8.0f}" for key in ("p99", "worst"))
            + f"{figures['p99_per_step']:10.2f}{1000 * figures['change']:9.0f}"
            + f"{1000 * figures['change_alone']:8.0f}"
        )
    write_results(given.output, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
