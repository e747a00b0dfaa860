"""The builder's progress as one number, and the way to stop it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Fraction:
    """How much of a build is done, from the nested phases that a builder reports.

    Every step of a phase counts alike, and an unfinished inner phase is part of a step of its
    parent. The number never falls.
    """

    def __init__(self) -> None:
        self._phases: dict[str, _Phase] = {}
        self.value = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        self._phases[name] = _Phase(parent, max(steps, 1))

    def step(self, name: str, step: int) -> None:
        if name in self._phases:
            self._phases[name].done = step + 1
        self._update(name)

    def finish(self, name: str) -> None:
        self._phases.pop(name, None)

    def _update(self, name: str | None) -> None:
        inner = 0.0
        while name is not None and name in self._phases:
            phase = self._phases[name]
            inner = min((phase.done + inner) / phase.steps, 1.0)
            name = phase.parent
        if name is None:
            self.value = max(self.value, inner)


def make_monitor(trt: Any, advance: Callable[[float], None], stopped: Callable[[], bool]) -> Any:
    """An IProgressMonitor of the module `trt`.

    advance: is told the fraction of the build after each step. stopped: once it answers True, the
    builder is told to end; it does so after its present step. Both may be called on any thread.
    """
    lock = threading.Lock()
    fraction = Fraction()

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with lock:
                fraction.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with lock:
                fraction.step(phase_name, step)
                advance(fraction.value)
                return not stopped()

        def phase_finish(self, phase_name: str) -> None:
            with lock:
                fraction.finish(phase_name)

    return Monitor()
