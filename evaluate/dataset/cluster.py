"""Samples from the machines of a Ray cluster: Ray Data, with engines as a pool of actors.

Actors write nothing: samples come back as rows, so machines need no common file system but the
bundle, which each has at the same path.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyarrow
import ray
import ray.data
from fgdm.errors import Error, RequestError
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.exceptions import RayTaskError

from .crew import Work
from .sample import Made

#: Samples of one task: more keep an engine's batches fuller, fewer spread more evenly.
_MOST_OF_A_TASK = 128
#: Tasks that share an engine: one begins while the last requests of another end.
_TASKS_OF_AN_ENGINE = 2


@dataclass(frozen=True)
class Place:
    """What of a cluster the engines take.

    engines: how many. cpus, gpus: of each, as Ray counts them; threads of the runtime are told to
    the engine itself.
    """

    engines: int = 1
    cpus: float = 1
    gpus: float = 0

    def __post_init__(self) -> None:
        if self.engines < 1:
            raise RequestError(f"engines is {self.engines}, expected 1 or more")


def ray_samples(work: Work, tasks: Sequence[Any], place: Place, in_flight: int = 24) -> Dataset:
    """A Ray dataset of samples: index, record (JSON), and a column of PNG bytes for the image and
    each factor, which are null where a sample was rejected. Nothing is made before it is read.

    Ray is to be initialized. in_flight: requests of each task at a time. A task that is lost with
    its machine is begun anew elsewhere, and makes the same samples.
    """
    blocks = max(1, -(-len(tasks) // _MOST_OF_A_TASK), min(len(tasks), place.engines * 2))
    rows = ray.data.from_items([{"task": task} for task in tasks], override_num_blocks=blocks)
    return rows.map_batches(
        _Engine,
        batch_size=None,
        batch_format="pyarrow",
        fn_constructor_args=(work, in_flight),
        compute=ActorPoolStrategy(
            size=place.engines,
            max_concurrent_calls_per_actor=_TASKS_OF_AN_ENGINE,
            max_tasks_in_flight_per_actor=_TASKS_OF_AN_ENGINE,
            enable_true_multi_threading=True,
        ),
        num_cpus=place.cpus,
        num_gpus=place.gpus,
    )


class Cluster:
    """What ``make_dataset`` calls a crew, on a Ray cluster. Use it in a ``with`` statement.

    address: as ``ray.init`` takes it; "local" starts one on this machine, which ends with it. A Ray
    that is initialized already is used, and stays.
    """

    def __init__(self, work: Work, place: Place, address: str = "auto") -> None:
        self._work, self._place, self._address = work, place, address
        self._stack = ExitStack()

    def __enter__(self) -> Cluster:
        if not ray.is_initialized():
            here = {"include_dashboard": False} if self._address == "local" else {}
            ray.init(address=self._address, log_to_driver=False, **here)
            self._stack.callback(ray.shutdown)
        try:
            asking = ray.remote(_identity).options(
                num_cpus=self._place.cpus, num_gpus=self._place.gpus
            )
            self.identity: dict[str, Any] = ray.get(asking.remote(self._work))
        except RayTaskError as error:
            self._stack.close()
            raise error.cause if isinstance(error.cause, Error) else error from None
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def make(self, tasks: Sequence[Any], in_flight: int) -> Iterator[Made]:
        """The samples of the tasks, in the order in which they come."""
        if not tasks:
            return
        DataContext.get_current().enable_progress_bars = False  # there is fgdm's own
        for row in ray_samples(self._work, tasks, self._place, in_flight).iter_rows():
            record, index = json.loads(row.pop("record")), row.pop("index")
            pictures = {name: png for name, png in row.items() if png is not None}
            yield Made(int(index), record, pictures)


class _Engine:
    """An actor: an open engine, and rows for the tasks that it is given."""

    def __init__(self, work: Work, in_flight: int) -> None:
        self._stack = ExitStack()
        self._maker = self._stack.enter_context(work.open())
        self._in_flight = in_flight
        names = ["index", "record", *self._maker.pictures]
        types = [pyarrow.int64(), pyarrow.string(), *[pyarrow.binary()] * (len(names) - 2)]
        self._schema = pyarrow.schema(zip(names, types, strict=True))

    def __call__(self, batch: pyarrow.Table) -> Iterator[pyarrow.Table]:
        for made in self._maker.make(batch["task"].to_pylist(), self._in_flight):
            row = {"index": made.index, "record": json.dumps(made.record), **made.pictures}
            yield pyarrow.Table.from_pylist([row], schema=self._schema)


def _identity(work: Work) -> dict[str, Any]:
    with work.open() as maker:
        return maker.identity()
