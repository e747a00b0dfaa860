"""The peak of memory sees what was held in between, and forgets it when told to."""

from __future__ import annotations

import numpy as np

from benchmarks.memory import memory_mb, peak_memory_mb, reset_peak_memory


def test_a_peak_is_seen_and_forgotten() -> None:
    reset_peak_memory()
    before = memory_mb()
    held = np.ones(64 * 2**20, np.uint8)
    assert memory_mb() >= before + 60
    del held  # 64 MB at once go straight back to the system
    assert peak_memory_mb() >= before + 60
    reset_peak_memory()
    assert peak_memory_mb() < before + 30
