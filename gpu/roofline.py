"""What a card can reach at best, by shape: the larger of its time for the bytes and the arithmetic.

python -m gpu.roofline --copies 3.0 --products 790     # an H100: TB/s, TFLOP/s in float16
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from benchmarks.attention_shapes import BATCHES, HEADS, LEVELS, TOKENS

#: Of Stable Diffusion 1.5, in 10^12 operations (a multiplication and an addition are two), by side
#: of the latent: a row of the backbone, of the ControlNet, a decoded picture (test_roofline.py).
BACKBONE = {32: 0.18, 64: 0.80}
CONTROLNET = {64: 0.28}
DECODER = {32: 0.62, 64: 2.5}
#: Bytes of weights that every call reads, in float16.
BACKBONE_BYTES = 1.72e9
_FLOAT16 = 2


@dataclass(frozen=True)
class Limit:
    """Of one piece of work: microseconds that its bytes and that its operations take."""

    what: str
    bytes_time: float
    operations_time: float

    @property
    def microseconds(self) -> float:
        return max(self.bytes_time, self.operations_time)

    @property
    def bound(self) -> str:
        return "memory" if self.bytes_time >= self.operations_time else "arithmetic"


def limit(what: str, size: float, operations: float, copies: float, products: float) -> Limit:
    """size in bytes; copies in bytes, products in operations a second."""
    return Limit(what, 1e6 * size / copies, 1e6 * operations / products)


def attention(copies: float, products: float) -> list[Limit]:
    """The attention op at Stable Diffusion 1.5's shapes: q, k, v read and out written once; the two
    products of one pass."""
    limits = []
    for side, head_size in LEVELS:
        for batch in BATCHES:
            rows = batch * HEADS
            size = 2 * _FLOAT16 * rows * head_size * (side * side + TOKENS)
            operations = 4 * rows * side * side * head_size * TOKENS
            what = f"attention {side}² patches, d = {head_size}, batch {batch}"
            limits.append(limit(what, size, operations, copies, products))
    return limits


def request(candidates: int, map_steps: int, image_steps: int) -> tuple[float, float]:
    """(bytes of weights, operations) of one request: two rows a map, maps at 256×256."""
    maps = 2 * candidates * map_steps * BACKBONE[32] + candidates * DECODER[32]
    image = 2 * image_steps * (BACKBONE[64] + CONTROLNET[64]) + DECODER[64]
    return (map_steps + image_steps) * BACKBONE_BYTES, 1e12 * (maps + image)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--copies", type=float, required=True, help="TB/s, read and written")
    parser.add_argument("--products", type=float, required=True, help="TFLOP/s in float16")
    given = parser.parse_args(arguments)
    speeds = (1e12 * given.copies, 1e12 * given.products)
    limits = attention(*speeds)
    for candidates, map_steps, image_steps in ((1, 10, 20), (4, 10, 20), (10, 10, 20)):
        work = request(candidates, map_steps, image_steps)
        what = f"request, N = {candidates}, {map_steps} + {image_steps} steps"
        limits.append(limit(what, *work, *speeds))
    print("| work | at best, µs | bound by |\n|---|---|---|")
    for found in limits:
        print(f"| {found.what} | {found.microseconds:,.1f} | {found.bound} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
