"""How much memory one request takes, stage by stage, with each value of Engine's `memory`.

python -m benchmarks.memory bundles/scenes --output benchmarks/results/memory.json
python -m benchmarks.memory --keep runs/sd15 --sdcpp runs/unet      # Stable Diffusion 1.5's shapes

Every run is a process of its own that loads nothing but the engine; values take turns. Peaks are of
resident memory, mapped files included. Without a bundle, --keep builds one with random weights as
benchmarks.diffusers_baseline does. --sdcpp FOLDER: stable-diffusion.cpp beside it, one picture from
a text without a ControlNet, with the checkpoint that benchmarks.unet_rivals leaves in the folder.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from fgdm.statistics import psnr

from benchmarks.command import PROMPT, engine_options, make_parser
from benchmarks.machine import write_results
from benchmarks.memory_stages import STAGES

#: As Engine takes it; the first is what others are compared with.
MEMORY = ("full", "low")

#: One picture of the size and steps, and its process's largest size.
_SDCPP = """
import json, sys, time
from benchmarks.process_memory import peak_memory_mb
from stable_diffusion_cpp import StableDiffusion
checkpoint, prompt, size, steps, threads = sys.argv[1:]
model = StableDiffusion(
    model_path=checkpoint, n_threads=int(threads), wtype="f16", verbose=False
)
loaded = peak_memory_mb()
began = time.monotonic()
model.generate_image(
    prompt=prompt, width=int(size), height=int(size), sample_steps=int(steps), cfg_scale=7.5,
    sample_method="euler",
)
seconds = time.monotonic() - began
print(json.dumps({"open_mb": loaded, "peak_mb": peak_memory_mb(), "seconds": seconds}))
"""


def _json_of(command: list[str]) -> dict[str, Any]:
    """What a process prints in its last line. Its errors go where this one's go."""
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def run_once(
    bundle: Path, engine: dict[str, Any], request: dict[str, Any]
) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    """What benchmarks.memory_stages finds in a new process, and the picture that it made."""
    with tempfile.TemporaryDirectory() as scratch:
        picture = Path(scratch) / "picture.npy"
        given = [str(bundle), json.dumps(engine), json.dumps(request), str(picture)]
        found = _json_of([sys.executable, "-m", "benchmarks.memory_stages", *given])
        return found, np.load(picture)


def compare(
    bundle: Path, engine: dict[str, Any], request: dict[str, Any], rounds: int
) -> dict[str, Any]:
    """By the value of `memory`: peaks of the round with the largest, medians of the seconds, and
    the PSNR of its picture against the first value's."""
    runs: dict[str, list[dict[str, Any]]] = {memory: [] for memory in MEMORY}
    pictures: dict[str, np.ndarray[Any, Any]] = {}
    for turn in range(rounds):
        for memory in MEMORY:
            found, pictures[memory] = run_once(bundle, {**engine, "memory": memory}, request)
            runs[memory].append(found)
            print(
                f"round {turn}, {memory}: {found['peak_mb']:.0f} MB, {found['seconds']:.1f} s, "
                f"of processors {found['processor_seconds']:.1f} s",
                file=sys.stderr,
                flush=True,
            )
    results = {}
    for memory, taken in runs.items():
        largest = max(taken, key=lambda run: float(run["peak_mb"]))
        results[memory] = {
            **largest,
            **{
                clock: statistics.median(run[clock] for run in taken)
                for clock in ("seconds", "processor_seconds")
            },
            "psnr_db": psnr(pictures[memory], pictures[MEMORY[0]]),
        }
    return results


def show(results: dict[str, Any]) -> None:
    """A table by stage, and what `memory` is worth."""
    full = results[MEMORY[0]]
    print(f"{full['runtime']}; MB at most" + "".join(f"{memory:>12}" for memory in MEMORY))
    for stage in ("open", *STAGES):
        sizes = [results[memory]["stages"].get(stage) for memory in MEMORY]
        if all(sizes):
            print(f"  {stage:<30}" + "".join(f"{size['peak_mb']:12.0f}" for size in sizes))
    for memory in MEMORY[1:]:
        low = results[memory]
        print(
            f"{memory}: {low['peak_mb'] / full['peak_mb']:.2f} of the memory, "
            f"{low['seconds'] / full['seconds']:.2f} of the time, "
            f"{low['processor_seconds'] / full['processor_seconds']:.2f} of the processors' time, "
            f"{low['psnr_db']:.1f} dB"
        )


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.set_defaults(bundle=None, backend="cpu")
    parser.add_argument("--keep", type=Path, help="build a bundle here, if it isn't there")
    parser.add_argument("--sdcpp", type=Path, metavar="FOLDER", help="measure it beside")
    parser.add_argument("--image-size", type=int, default=512, help="of the picture; default: 512")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--condition-steps", type=int, default=2)
    parser.add_argument("--num-inference-steps", type=int, default=2)
    given = parser.parse_args(arguments)
    bundle = given.bundle or Path("bundles/scenes")
    if given.keep and not given.bundle:
        from benchmarks.diffusers_baseline import build_bundle  # noqa: PLC0415 (loads PyTorch)

        bundle = given.keep / "bundle"
        if not (bundle / "manifest.json").is_file():
            build_bundle(given.keep, given.image_size)
    request = {
        "prompt": PROMPT,
        "seed": 1,
        "candidates": given.candidates,
        "condition_steps": given.condition_steps,
        "num_inference_steps": given.num_inference_steps,
        "stop_at_recall": 0.0,
        **({"height": given.image_size, "width": given.image_size} if given.keep else {}),
    }
    found = compare(bundle, engine_options(given), request, given.rounds)
    show(found)
    results: dict[str, Any] = {"request": request, "threads": given.threads, "memory": found}
    if given.sdcpp:
        checkpoint = given.sdcpp / "v1-5.safetensors"
        sizes = [str(given.image_size), str(given.num_inference_steps), str(given.threads)]
        results["sdcpp"] = rival = _json_of(
            [sys.executable, "-c", _SDCPP, str(checkpoint), PROMPT, *sizes]
        )
        print(f"stable-diffusion.cpp, f16: {rival['peak_mb']:.0f} MB, {rival['seconds']:.1f} s")
    write_results(given.output, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
