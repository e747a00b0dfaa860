"""A run: makes the samples that a data set's folder lacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fgdm.errors import BackendError, RequestError

from .crew import Alone, Crew
from .making import Setup
from .sample import Made
from .store import Store
from .workers import Workers

#: Requests that an engine has at a time: as many as it works on, and some that wait.
IN_FLIGHT = 24

#: Called with how many samples of this run are made, and how many there will be.
Watch = Callable[[int, int], None]


@dataclass(frozen=True)
class Outcome:
    """Samples of one run: that were there before it, that it made, and of these the rejected ones;
    seconds that it took without opening the engine."""

    before: int
    made: int
    rejected: int
    seconds: float


def make_dataset(
    setup: Setup,
    folder: Path,
    count: int,
    *,
    workers: int = 1,
    in_flight: int = IN_FLIGHT,
    watch: Watch | None = None,
    crew: Callable[[Setup], AbstractContextManager[Crew]] | None = None,
) -> Outcome:
    """Makes the samples 0 to count - 1 that `folder` doesn't have.

    What is in it afterwards depends on the setup alone, not on the workers, the order in which
    samples end, or how often it was interrupted (docs/dataset.md says on which runtimes to the
    byte). workers: processes with an engine each; 1 is this one. crew: makes them in another way.

    Raises RequestError for arguments that aren't allowed and for a folder of another recipe,
    OutputError for one that can't be written, and what the engine raises.
    """
    if not 1 <= count <= 10**8:
        raise RequestError(f"count is {count}, expected 1 to 10^8")
    if crew is None:
        crew = _alone if workers == 1 else lambda setup: Workers(setup, workers)
    with Store(folder) as store, crew(setup) as able:
        store.begin(able.identity, count)
        done = store.indices()
        todo = [index for index in range(count) if index not in done]
        began, rejected = time.monotonic(), 0
        for number, made in enumerate(able.make(todo, in_flight), start=1):
            _check_engine(made, able.identity["engine"])
            store.add(made)
            rejected += made.rejected
            if watch is not None:
                watch(number, len(todo))
        return Outcome(count - len(todo), len(todo), rejected, time.monotonic() - began)


@contextmanager
def _alone(setup: Setup) -> Iterator[Crew]:
    with setup.open() as maker:
        yield Alone(maker)


def _check_engine(made: Made, expected: object) -> None:
    """Pictures of two runtimes, or of two versions of one, aren't equal."""
    if not made.rejected and made.record["engine"] != expected:
        raise BackendError(
            f"sample {made.index} was made by {made.record['engine']}, others by {expected}; let "
            "all workers have one runtime and precision"
        )
