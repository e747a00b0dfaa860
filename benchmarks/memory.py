"""How much memory this process holds (Linux)."""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_memory_mb() -> float:
    """The process's largest resident size since it began, or since `reset_peak_memory`, in MB."""
    return _status_mb("VmHWM")


def memory_mb() -> float:
    """The process's resident size now, in MB."""
    return _status_mb("VmRSS")


def reset_peak_memory() -> None:
    """Let `peak_memory_mb` begin again at the present size."""
    Path("/proc/self/clear_refs").write_text("5")


def _status_mb(key: str) -> float:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"{_STATUS} has no {key}; this benchmark needs Linux")
