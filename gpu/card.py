"""What a card is, and what it reaches: its copy speed and its speed at large matrix products.

python -m gpu.card --output card.json
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fgdm import machine

from benchmarks.machine import write_results

_BYTES = {"cuda": 1 << 30, "cpu": 1 << 26}
_SIDE = {"cuda": 8192, "cpu": 512}


def seconds(call: Callable[[], object], device: str, repeats: int = 10) -> float:
    """Of one call on a device, the mean of `repeats` after three that don't count."""
    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(3):
        call()
    wait()
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    wait()
    return (time.perf_counter() - began) / repeats


def copy_bytes_per_second(device: str) -> float:
    """Bytes read and bytes written, together, by a copy within the device's memory."""
    source = torch.empty(_BYTES[device], dtype=torch.uint8, device=device).random_()
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds(lambda: target.copy_(source), device)


def product_operations_per_second(device: str, dtype: torch.dtype) -> float:
    """A multiplication and an addition count as two."""
    side = _SIDE[device]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / seconds(lambda: a @ b, device)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--output", type=Path, help="JSON file")
    given = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        print("gpu.card: PyTorch sees no NVIDIA GPU", file=sys.stderr)
        return 1
    dtypes = (torch.float32, torch.bfloat16, torch.float16)
    figures: dict[str, Any] = {
        "cards": [vars(gpu) for gpu in machine.find_gpus()],
        "copy_bytes_per_second": copy_bytes_per_second(given.device),
        "product_operations_per_second": {
            str(dtype).removeprefix("torch."): product_operations_per_second(given.device, dtype)
            for dtype in dtypes
        },
    }
    for key, value in figures.items():
        print(f"{key}: {value}")
    write_results(given.output, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
