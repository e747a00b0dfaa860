"""Memory and disk that builds will need, checked before the work."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from fgdm.inspect import human_size

from ..errors import ExportError
from .order import Order

# Measured with TensorRT-RTX 1.7.1; see docs/plans.md.
_MEMORY_BASE = 450_000_000
_MEMORY_PER_PROFILE = 150_000_000
_MEMORY_PER_WEIGHT_BYTE = 3.5
_DISK_BASE = 16_000_000
_DISK_PER_WEIGHT_BYTE = 1.02


def memory_needed(order: Order) -> int:
    """Bytes of host memory that building a plan takes at its peak, roughly."""
    code = _MEMORY_PER_PROFILE * len(order.covers["profiles"])
    return int(_MEMORY_BASE + code + _MEMORY_PER_WEIGHT_BYTE * order.weight_bytes)


def disk_needed(order: Order) -> int:
    """Bytes of a plan, roughly: its weights, and code for each profile."""
    code = _DISK_BASE * len(order.covers["profiles"])
    return int(code + _DISK_PER_WEIGHT_BYTE * order.weight_bytes)


def check_disk(folder: Path, orders: Sequence[Order]) -> None:
    """Raises ExportError if the plans won't fit."""
    needed, free = sum(map(disk_needed, orders)), shutil.disk_usage(folder).free
    if needed > free:
        raise ExportError(
            f"{len(orders)} plans will take about {human_size(needed)}, and {folder} has "
            f"{human_size(free)} free; free some room, or build fewer: a smaller "
            "--max-candidates, fewer --sizes, --graphs, or one plan a graph with --share-weights"
        )


def affordable_jobs(orders: Sequence[Order], asked: int, available: int) -> int:
    """How many builds at once memory allows, at most `asked`.

    Raises:
        ExportError: it doesn't even allow the largest one alone.
    """
    largest = max(orders, key=memory_needed)
    needed = memory_needed(largest)
    if needed > available:
        raise ExportError(
            f"building {largest.label} takes about {human_size(needed)} of memory, and "
            f"{human_size(available)} is available; close other programs, add swap, or build "
            "on a larger machine: plans for tensorrt-rtx need no GPU there"
        )
    return max(1, min(asked, len(orders), available // needed))


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that new processes can have: free memory and swap, within the container's limit."""
    free = 0
    for line in (root / "proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("MemAvailable", "SwapFree"):
            free += int(value.split()[0]) * 1024
    group = root / "sys/fs/cgroup"
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no cgroup v2, or no limit ("max")
        return free
    return min(free, max(0, limit - used))
