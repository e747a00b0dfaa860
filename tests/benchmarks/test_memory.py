"""The peak of memory sees what was held in between, and forgets it when told to."""

from __future__ import annotations

import mmap

from benchmarks.memory import memory_mb, peak_memory_mb, reset_peak_memory


def test_a_peak_is_seen_and_forgotten() -> None:
    reset_peak_memory()
    before = memory_mb()
    with mmap.mmap(-1, 64 * 2**20) as held:  # goes straight back to the system, unlike malloc's
        held.write(bytes(len(held)))
        assert memory_mb() >= before + 60
    assert peak_memory_mb() >= before + 60
    reset_peak_memory()
    assert peak_memory_mb() < before + 30
