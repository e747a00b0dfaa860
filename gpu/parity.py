"""The shipped bundle on a card beside the CPU: the same maps are chosen, the pictures are equal.

python -m gpu.parity --backend cuda --output parity.json
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fgdm import Engine
from fgdm.statistics import psnr

from benchmarks.machine import write_results

BUNDLE = Path(__file__).parents[1] / "bundles" / "scenes"
PROMPTS = ("two dogs beside a house under a tree", "a boat on the sea", "a cat and a ball")
#: The least PSNR of a picture, in dB.
LEAST = 35.0
#: What segmentation-free guidance may take of classifier-free guidance's time: two rows either way.
MOST_TIME = 1.05


@dataclass(frozen=True)
class Comparison:
    """One prompt on both. psnr: of the pictures, in dB. seconds: of the card's request."""

    prompt: str
    chosen: int
    expected: int
    psnr: float
    seconds: float

    @property
    def equal(self) -> bool:
        """The same map was chosen, and the pictures differ by rounding."""
        return self.chosen == self.expected and self.psnr >= LEAST


def compare(engine: Engine, reference: Engine, count: int = len(PROMPTS)) -> list[Comparison]:
    """The first `count` prompts, each with a seed of its own."""
    rows = []
    for seed, prompt in enumerate(PROMPTS[:count]):
        ours, expected = (e.generate(prompt, seed=seed) for e in (engine, reference))
        rows.append(
            Comparison(
                prompt,
                ours.chosen,
                expected.chosen,
                psnr(np.asarray(ours.image), np.asarray(expected.image)),
                ours.timings["total"],
            )
        )
    return rows


def segfree_time(engine: Engine, runs: int) -> float:
    """Segmentation-free over classifier-free guidance: medians of requests in turns."""
    seconds: dict[str, list[float]] = {"cfg": [], "segfree": []}
    for seed in range(runs + 1):
        for guidance, taken in seconds.items():
            result = engine.generate(PROMPTS[0], seed=seed, guidance=guidance, candidates=1)
            taken.append(result.timings["total"])
    return float(np.median(seconds["segfree"][1:]) / np.median(seconds["cfg"][1:]))


def off_device(engine: Engine) -> list[str]:
    """Notes of an engine that say that rows travel through the host's memory."""
    return [note for note in engine.notes if "host's memory" in note]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    parser.add_argument("--output", type=Path, help="JSON file")
    given = parser.parse_args(arguments)
    with (
        Engine(BUNDLE, backend="cpu", precision="fp32") as reference,
        Engine(BUNDLE, backend=given.backend) as engine,
    ):
        rows = compare(engine, reference, given.prompts)
        figures: dict[str, Any] = {
            "runtime": f"{engine.info.runtime} {engine.info.backend} {engine.info.precision}",
            "notes": engine.notes,
            "pictures": [asdict(row) for row in rows],
            "segfree_time": segfree_time(engine, runs=2 * given.prompts),
        }
        on_device = not off_device(engine)
    print(figures["runtime"], *figures["notes"], sep="\n  ")
    for row in rows:
        chosen = f"map {row.chosen} (CPU: {row.expected})"
        print(f"{row.psnr:6.1f} dB  {chosen}  {row.seconds:.3f} s  {row.prompt}")
    print(f"segmentation-free guidance takes {figures['segfree_time']:.2f} of the other's time")
    write_results(given.output, figures)
    return 0 if on_device and all(row.equal for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
