"""What a backend's arithmetic does to the picture: PSNR against float32 on the CPU provider.

python -m benchmarks.precision bundles/scenes --float16 scenes-fp16 --output precision.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from fgdm import BackendError, Engine
from fgdm.statistics import psnr
from PIL import Image

from benchmarks.machine import write_results

PROMPTS = [
    "two dogs beside a house under a tree with a kite and the sun",
    "a boat on the sea",
    "a cat and a ball on the grass",
    "a person with an umbrella beside a car",
]


def pictures(bundle: Path, backend: str, precision: str) -> list[Image.Image]:
    """One picture a prompt, each from one map, by the same noise everywhere."""
    with Engine(bundle, backend=backend, precision=precision) as engine:
        return [
            engine.generate(prompt, seed=i, candidates=1).image for i, prompt in enumerate(PROMPTS)
        ]


def main() -> int:
    """Every backend and precision that this machine has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--float16", type=Path, help="the same model exported with fp16 graphs")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()

    expected = pictures(args.bundle, "cpu", "fp32")
    runs = [
        (args.bundle, backend, precision)
        for backend in ("openvino", "cuda")
        for precision in ("fp32", "bf16")
    ]
    if args.float16:
        runs += [(args.float16, backend, "fp32") for backend in ("cpu", "openvino", "cuda")]
    table = {}
    for bundle, backend, precision in runs:
        graphs = "fp16" if bundle == args.float16 else "fp32"
        name = f"{graphs} graphs, {backend} {precision}"
        try:
            found = pictures(bundle, backend, precision)
        except BackendError as error:
            print(f"{name}: not run ({error})", file=sys.stderr)
            continue
        values = [psnr(a, b) for a, b in zip(found, expected, strict=True)]
        table[name] = {"min": min(values), "median": float(np.median(values))}
        print(f"{name}: PSNR {min(values):.1f} dB at least, {np.median(values):.1f} median")
    write_results(args.output, {"psnr_db": table, "prompts": len(PROMPTS)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
