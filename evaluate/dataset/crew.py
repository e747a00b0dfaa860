"""What makes samples, and where: an engine in this process, in several, or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from .sample import Made


class Maker(Protocol):
    """An open engine that works on tasks: numbers of samples, or texts.

    pictures: names of all that a sample may have.
    """

    @property
    def pictures(self) -> Sequence[str]: ...

    def identity(self) -> dict[str, Any]:
        """What all its samples share: plain JSON."""

    def make(self, tasks: Iterable[Any], in_flight: int, /) -> Iterator[Made]:
        """What comes of the tasks; several threads may call it."""


class Work(Protocol):
    """What another process or machine needs to make the same samples; it can be pickled."""

    def open(self) -> AbstractContextManager[Maker]:
        """Opens an engine. Raises what ``fgdm.Engine`` raises."""


class Crew(Protocol):
    """Who works: one maker or several. identity: that of every maker's."""

    @property
    def identity(self) -> dict[str, Any]: ...

    def make(self, tasks: Sequence[Any], in_flight: int, /) -> Iterator[Made]: ...


class Alone:
    """A maker in this process."""

    def __init__(self, maker: Maker) -> None:
        self.identity = maker.identity()
        self._maker = maker

    def make(self, tasks: Sequence[Any], in_flight: int, /) -> Iterator[Made]:
        """What comes of the tasks."""
        return self._maker.make(tasks, in_flight)


def threads_of_each(workers: int) -> int:
    """Of each of several engines, so that together they take this machine's processors; 0 lets the
    runtime choose."""
    return 0 if workers <= 1 else max(1, len(os.sched_getaffinity(0)) // workers)
