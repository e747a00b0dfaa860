"""Where an evaluation's time goes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any


class Stopwatch:
    """Seconds, and the processor's, by what they were spent on; everything else is the
    evaluation's own."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._elsewhere = 0.0
        self._seconds = {"engine": 0.0, "networks": 0.0}
        self._processor = dict(self._seconds)

    @contextlib.contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Counts the time of a ``with`` block: "engine" or "networks"."""
        began = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.add(what, time.perf_counter() - began[0], time.process_time() - began[1])

    def add(self, what: str, seconds: float, processor: float, *, of_others: bool = False) -> None:
        """Counts what was measured otherwise. of_others: by other processes."""
        self._seconds[what] += seconds
        self._processor[what] += processor
        self._elsewhere += processor if of_others else 0

    def to_json(self) -> dict[str, Any]:
        """Seconds of each and in total since the stopwatch was made, and outside_share: of the
        total, what was spent neither in the engine nor in networks. processor: the same of its
        time, whose total began with the process and so has the imports."""
        return {
            **_shares(self._seconds, time.perf_counter() - self._began),
            "processor": _shares(self._processor, time.process_time() + self._elsewhere),
        }


def _shares(spent: dict[str, float], total: float) -> dict[str, float]:
    return {**spent, "total": total, "outside_share": (total - sum(spent.values())) / total}
