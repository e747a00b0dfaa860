"""One request, timed stage by stage, beside the same work in diffusers on the same weights.

python -m benchmarks.generate bundles/scenes --output benchmarks/results/generate.json
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fgdm import Engine, Result
from PIL import Image

from benchmarks.machine import write_results
from benchmarks.rival import DiffusersChain

PROMPT = "two dogs beside a house under a tree with a kite and the sun"


def peak_memory_mb() -> float:
    """The process's largest resident size so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def time_engine(bundle: Path, options: dict[str, Any], runs: int) -> dict[str, Any]:
    """Load once, warm up once, then `runs` requests."""
    with Engine(bundle) as engine:
        engine.generate(PROMPT, seed=0, **options)
        results: list[Result] = [engine.generate(PROMPT, seed=i, **options) for i in range(runs)]
        load, info = engine.load_seconds, engine.info
    totals = [result.timings["total"] for result in results]
    median = results[totals.index(statistics.median_low(totals))]
    return {
        "runtime": f"{info.runtime} {info.backend} {info.precision}",
        "load_seconds": load,
        "total_seconds": {
            "min": min(totals),
            "median": statistics.median(totals),
            "max": max(totals),
        },
        "stages": median.timings,
        "core_share": median.timings["core"] / median.timings["total"],
        "peak_memory_mb": peak_memory_mb(),
    }


def time_diffusers(bundle: Path, options: dict[str, Any], runs: int) -> dict[str, Any]:
    """The same N maps and one picture through diffusers' classes, float32."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    condition, image = manifest["factors"][0], manifest["factors"][-1]
    chain = DiffusersChain(bundle, manifest)
    scale = manifest["autoencoder"]["downscale"]
    totals = []
    for run in range(runs + 1):  # the first is the warm-up
        torch.manual_seed(run)
        began = time.perf_counter()
        maps = chain.maps(
            PROMPT,
            torch.randn(
                options["candidates"], 4, condition["height"] // scale, condition["width"] // scale
            ),
            options["condition_steps"],
            condition["guidance_scale"],
        )
        chain.picture(
            PROMPT,
            Image.fromarray(np.ascontiguousarray(maps[0])),
            torch.randn(1, 4, image["height"] // scale, image["width"] // scale),
            options["num_inference_steps"],
            image["guidance_scale"],
        )
        totals.append(time.perf_counter() - began)
    totals = totals[1:]
    return {
        "runtime": f"diffusers on torch {torch.__version__} float32",
        "total_seconds": {
            "min": min(totals),
            "median": statistics.median(totals),
            "max": max(totals),
        },
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("bundles/scenes"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--condition-steps", type=int, default=10)
    parser.add_argument("--num-inference-steps", type=int, default=20)
    parser.add_argument("--no-diffusers", action="store_true", help="time fgdm alone")
    parser.add_argument("--output", type=Path, help="JSON file of the results")
    given = parser.parse_args(arguments)
    options = {
        "candidates": given.candidates,
        "condition_steps": given.condition_steps,
        "num_inference_steps": given.num_inference_steps,
    }
    ours = time_engine(given.bundle, options, given.runs)
    results: dict[str, Any] = {"options": options, "fgdm": ours}
    print(f"{ours['runtime']}: loaded in {ours['load_seconds']:.2f} s")
    for stage, seconds in sorted(ours["stages"].items(), key=lambda item: -item[1]):
        print(f"  {stage:<14}{seconds:8.3f} s  {seconds / ours['stages']['total']:6.1%}")
    print(f"  median of {given.runs}: {ours['total_seconds']['median']:.2f} s, ", end="")
    print(f"peak memory {ours['peak_memory_mb']:.0f} MB")
    print(f"  outside the sessions: {ours['core_share']:.2%} (target: at most 2 %)")
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
