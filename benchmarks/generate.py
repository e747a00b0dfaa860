"""One request, timed stage by stage, beside the same work in diffusers on the same weights.

python -m benchmarks.generate bundles/scenes --output benchmarks/results/generate.json
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from fgdm import Engine, Result

from benchmarks.command import PROMPT, engine_options, make_parser
from benchmarks.machine import write_results
from benchmarks.methods import AS_IN_THE_PAPERS
from benchmarks.process_memory import peak_memory_mb
from benchmarks.rival import DiffusersChain
from benchmarks.statistics import summary


def time_engine(bundle: Path, options: dict[str, Any], runs: int, **engine: Any) -> dict[str, Any]:
    """Load once, warm up once, then `runs` requests."""
    with Engine(bundle, **engine) as loaded:
        loaded.generate(PROMPT, seed=0, **options)
        results: list[Result] = [loaded.generate(PROMPT, seed=i, **options) for i in range(runs)]
        load, info = loaded.load_seconds, loaded.info
    totals = [result.timings["total"] for result in results]
    median = results[totals.index(statistics.median_low(totals))]
    return {
        "runtime": f"{info.runtime} {info.backend} {info.precision}",
        "load_seconds": load,
        "total_seconds": summary(totals),
        "stages": median.timings,
        "core_share": median.timings["core"] / median.timings["total"],
        "peak_memory_mb": peak_memory_mb(),
    }


def time_diffusers(bundle: Path, options: dict[str, Any], runs: int) -> dict[str, Any]:
    """The same N maps and one picture through diffusers' classes, float32."""
    chain = DiffusersChain(bundle, json.loads((bundle / "manifest.json").read_text()))
    totals = []
    for run in range(runs + 1):  # the first is the warm-up
        began = time.perf_counter()
        chain.generate(PROMPT, seed=run, **options)
        totals.append(time.perf_counter() - began)
    return {
        "runtime": f"diffusers on torch {torch.__version__} float32",
        "total_seconds": summary(totals[1:]),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--condition-steps", type=int, default=10)
    parser.add_argument("--num-inference-steps", type=int, default=20)
    parser.add_argument("--no-diffusers", action="store_true", help="time fgdm alone")
    given = parser.parse_args(arguments)
    options = {
        "candidates": given.candidates,
        "condition_steps": given.condition_steps,
        "num_inference_steps": given.num_inference_steps,
    }
    as_the_rival = {"stop_at_recall": 0.0, **AS_IN_THE_PAPERS, "condition_sampler": "ddim"}
    torch.set_num_threads(given.threads)
    ours = time_engine(given.bundle, as_the_rival | options, given.runs, **engine_options(given))
    results: dict[str, Any] = {"options": options, "fgdm": ours}
    print(f"{ours['runtime']}: loaded in {ours['load_seconds']:.2f} s")
    for stage, seconds in sorted(ours["stages"].items(), key=lambda item: -item[1]):
        print(f"  {stage:<14}{seconds:8.3f} s  {seconds / ours['stages']['total']:6.1%}")
    print(f"  median of {given.runs}: {ours['total_seconds']['median']:.2f} s, ", end="")
    print(f"peak memory {ours['peak_memory_mb']:.0f} MB")
    print(f"  outside the sessions: {ours['core_share']:.2%}")
    if not given.no_diffusers:
        rival = time_diffusers(given.bundle, options, given.runs)
        results["diffusers"] = rival
        ratio = ours["total_seconds"]["median"] / rival["total_seconds"]["median"]
        results["time_ratio"] = ratio
        print(f"{rival['runtime']}: median {rival['total_seconds']['median']:.2f} s; ", end="")
        print(f"fgdm takes {ratio:.2f} of its time")
    write_results(given.output, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
