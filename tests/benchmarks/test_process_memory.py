"""The peak of memory sees what was held in between, and forgets it when told to."""

from __future__ import annotations

import mmap
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from benchmarks.process_memory import memory_mb, peak_memory_mb, reset_peak_memory


class Sizes(NamedTuple):
    """What a process measured of itself, in MB, around 64 MiB that it held for a while."""

    before: float
    during: float
    peak: float
    peak_after_reset: float


def measure() -> Sizes:
    """Hold 64 MiB that go straight back to the system, unlike malloc's."""
    reset_peak_memory()
    before = memory_mb()
    with mmap.mmap(-1, 64 * 2**20) as held:
        held.write(bytes(len(held)))
        during = memory_mb()
    peak = peak_memory_mb()
    reset_peak_memory()
    return Sizes(before, during, peak, peak_memory_mb())


def test_a_peak_is_seen_and_forgotten() -> None:
    # Alone in a new process: the threads of other tests change this one's size, and its peak.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
        sizes = alone.submit(measure).result()
    assert sizes.during >= sizes.before + 60
    assert sizes.peak >= sizes.before + 60
    assert sizes.peak_after_reset < sizes.before + 30
