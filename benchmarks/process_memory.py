"""How much memory this process holds (Linux)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_STATUS = Path("/proc/self/status")


class Sample(NamedTuple):
    """The largest resident size between two times (of time.monotonic), and, when it was looked at,
    what was resident of it that belongs to no file, and of files; in MB."""

    begin: float
    end: float
    peak: float
    anonymous: float
    mapped: float


def peak_memory_mb() -> float:
    """The process's largest resident size since it began, or since `reset_peak_memory`, in MB."""
    return _status_mb("VmHWM")["VmHWM"]


def memory_mb() -> float:
    """The process's resident size now, in MB."""
    return _status_mb("VmRSS")["VmRSS"]


def reset_peak_memory() -> None:
    """Let `peak_memory_mb` begin again at the present size."""
    Path("/proc/self/clear_refs").write_text("5")


@contextmanager
def sampled(seconds: float = 0.02) -> Iterator[list[Sample]]:
    """Samples of the body's memory, one every so many seconds, which are there once it has ended.
    The process's peak begins again with each."""
    samples: list[Sample] = []
    ended = threading.Event()

    def watch() -> None:
        begin = time.monotonic()
        while True:
            last = ended.wait(seconds)
            sizes = _status_mb("VmHWM", "RssAnon", "RssFile")
            reset_peak_memory()
            end = time.monotonic()
            samples.append(Sample(begin, end, sizes["VmHWM"], sizes["RssAnon"], sizes["RssFile"]))
            if last:
                return
            begin = end

    reset_peak_memory()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield samples
    finally:
        ended.set()
        watcher.join()


def _status_mb(*keys: str) -> dict[str, float]:
    found = {}
    for line in _STATUS.read_text().splitlines():
        key, _, value = line.partition(":")
        if key in keys:
            found[key] = int(value.split()[0]) / 1024
    if len(found) < len(keys):
        raise RuntimeError(f"{_STATUS} lacks one of {keys}; this benchmark needs Linux")
    return found
