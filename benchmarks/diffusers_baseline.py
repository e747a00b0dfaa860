"""Stable Diffusion 1.5's shapes with random weights: the same work in fgdm and in diffusers.

python -m benchmarks.diffusers_baseline --output out/diffusers_baseline.json

N = 4 maps, 2 steps each, and 2 steps of the image: fgdm in turns with diffusers in float32, then
with diffusers in bfloat16 with channels-last networks. Both sides are in memory at once, 22 GB.
On a card: --backend cuda --rivals cuda_float16, with a float16 bundle.
Without a bundle it builds one, which takes some minutes, 4 GB on disk and 11 GB of memory; --keep
FOLDER keeps it for the next run.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fgdm import Engine

from benchmarks.command import engine_options, make_parser
from benchmarks.machine import write_results
from benchmarks.rival import DiffusersChain
from benchmarks.statistics import summary

PROMPT = "two dogs beside a park bench on the grass"
RIVALS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": torch.float32},
    "bfloat16": {"dtype": torch.bfloat16, "channels_last": True},
    "cuda_float16": {"dtype": torch.float16, "device": "cuda"},
}


def build_bundle(folder: Path, image_size: int) -> Path:
    """Write random weights of the shapes and export them, in a process whose memory comes back."""
    from tests.full_size.sd15 import build_checkpoint  # noqa: PLC0415 (loads transformers)

    build_checkpoint(folder)
    bundle = folder / "bundle"
    command = [
        *(sys.executable, "-m", "fgdm", "export", "--base", str(folder / "base")),
        *("--adapter", f"segmentation={folder / 'adapter'}"),
        *("--controlnet", str(folder / "controlnet"), "--palette", str(folder / "palette.json")),
        *("--image-size", f"{image_size}x{image_size}", "--output", str(bundle)),
    ]
    subprocess.run(command, check=True)
    return bundle


def card_memory_mb() -> float:
    """What is taken of the card's memory, by whoever; 0 without a card."""
    if not torch.cuda.is_available():
        return 0.0
    free, all_of_it = torch.cuda.mem_get_info()
    return float(all_of_it - free) / 1e6


def interleave(
    systems: Mapping[str, Callable[[int], object]], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each system in each round; a round before them warms up and doesn't count."""
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for turn in range(rounds + 1):
        for name, run in systems.items():
            began = time.perf_counter()
            run(turn)
            seconds[name].append(time.perf_counter() - began)
            print(f"round {turn}, {name}: {seconds[name][-1]:.2f} s", file=sys.stderr, flush=True)
    return {name: taken[1:] for name, taken in seconds.items()}


def compare(turns: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Of each rival's turns with fgdm: fgdm's time over the rival's, of all rounds together and the
    least and largest of a round, which are too few for an interval; and over the rival whose median
    is best."""
    ratios: dict[str, Any] = {}
    for name, seconds in turns.items():
        ours, theirs = seconds["fgdm"], seconds[name]
        rounds = [a / b for a, b in zip(ours, theirs, strict=True)]
        ratios[f"beside_{name}"] = {
            "estimate": sum(ours) / sum(theirs),
            "least": min(rounds),
            "largest": max(rounds),
        }
    best = min(turns, key=lambda name: statistics.median(turns[name][name]))
    return ratios | {"best_rival": best, "beside_best": ratios[f"beside_{best}"]}


def measure(
    bundle: Path,
    options: dict[str, Any],
    rivals: list[str],
    rounds: int,
    threads: int,
    **engine: Any,
) -> dict[str, Any]:
    """All systems in this process, on one bundle's weights, with the same number of threads."""
    torch.set_num_threads(threads)
    manifest = json.loads((bundle / "manifest.json").read_text())
    core_shares: list[float] = []
    with Engine(bundle, threads=threads, **engine) as loaded:

        def ours(turn: int) -> None:
            timings = loaded.generate(PROMPT, seed=turn, stop_at_recall=0.0, **options).timings
            if turn:
                core_shares.append(timings["core"] / timings["total"])

        turns: dict[str, dict[str, list[float]]] = {}
        ours(0)
        memory = {"fgdm": card_memory_mb()}
        for name in (f"diffusers_{rival}" for rival in rivals):
            rival = DiffusersChain(bundle, manifest, **RIVALS[name.removeprefix("diffusers_")])
            theirs = partial(rival.generate, PROMPT, **options)
            turns[name] = interleave({"fgdm": ours, name: theirs}, rounds)
            memory[name] = card_memory_mb() - memory["fgdm"]
            del rival, theirs  # its memory is the next one's
        info = loaded.info
    return {
        "options": options,
        "image_size": manifest["factors"][-1]["height"],
        "threads": threads,
        "runtime": f"{info.runtime} {info.backend} {info.precision}",
        "torch": torch.__version__,
        "rounds": rounds,
        "seconds": {
            "fgdm": summary([taken for seconds in turns.values() for taken in seconds["fgdm"]]),
            **{name: summary(seconds[name]) for name, seconds in turns.items()},
        },
        "core_share": statistics.median(core_shares),
        "card_memory_mb": memory,
        **compare(turns),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.set_defaults(bundle=None)
    parser.add_argument("--keep", type=Path, help="build the bundle here and leave it")
    parser.add_argument("--image-size", type=int, default=512, help="of a bundle that is built")
    parser.add_argument(
        "--rivals", nargs="+", choices=list(RIVALS), default=["float32", "bfloat16"]
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--condition-steps", type=int, default=2)
    parser.add_argument("--num-inference-steps", type=int, default=2)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        bundle = given.bundle or build_bundle(given.keep or Path(scratch), given.image_size)
        options = {
            "candidates": given.candidates,
            "condition_steps": given.condition_steps,
            "num_inference_steps": given.num_inference_steps,
        }
        results = measure(bundle, options, given.rivals, given.rounds, **engine_options(given))
    print(f"{results['runtime']}, diffusers on torch {results['torch']}")
    for name, taken in results["seconds"].items():
        ratio = results.get(f"beside_{name}")
        print(f"{name:<20}{taken['median']:8.2f} s", end="")
        print(f"   fgdm takes {ratio['estimate']:.2f} of it" if ratio else "")
    print(f"outside the sessions: {results['core_share']:.2%}")
    write_results(given.output, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
