"""A task's pictures: awaited together, watched step by step, cancelled as one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from fgdm.factor_result import MapInfo
from fgdm.job import Job
from fgdm.result import Result
from numpy.typing import NDArray
from PIL import Image

from .attempts import Attempts
from .errors import outcome_of
from .metrics import Metrics
from .requests import Task
from .staged import StagedJob

if TYPE_CHECKING:
    from fgdm import _core

#: Previews that may wait to be sent; older ones are dropped for newer.
_MOST_PREVIEWS = 4


@dataclass(frozen=True)
class Step:
    """A step that a picture's job has taken. preview: of the image, where one was asked for.
    maps: likewise of candidates, what each is about to become, RGB (h, w, 3). attempt: from 0,
    which of those of a picture that is painted again. stage: of an edit by inversion, which of its
    jobs (fgdm.ways.Stage)."""

    picture: int
    factor: str
    step: int
    num_steps: int
    preview: Image.Image | None = None
    maps: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)
    attempt: int = 0
    stage: str = ""


@dataclass(frozen=True)
class Seen:
    """A map that a picture's job has looked at. shown: whether a stream shows it. attempt: as of
    a Step."""

    picture: int
    info: MapInfo
    shown: bool = False
    attempt: int = 0

    @property
    def preview(self) -> Image.Image | None:
        """The map, where a stream shows it."""
        return self.info.candidate.map if self.shown else None

    def facts(self) -> dict[str, Any]:
        """Everything but the pixels."""
        candidate = self.info.candidate
        return {
            "attempt": self.attempt,
            "factor": self.info.factor,
            "candidate": candidate.index,
            "recall": candidate.recall,
            "found": list(candidate.found),
            "missing": list(candidate.missing),
            "compliance": candidate.compliance,
            "refused": candidate.refused,
            "steps": candidate.steps,
            "num_steps": self.info.num_steps,
            "chosen": self.info.chosen,
        }


Watcher = Callable[["Step | Seen"], object]


class Channel:
    """Previews from the engine's thread to the event loop; nobody on the engine's thread waits."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._previews: deque[Step | Seen] = deque(maxlen=_MOST_PREVIEWS)
        self._filled = asyncio.Event()
        self._closed = False

    def send(self, event: Step | Seen) -> None:
        """From any thread; of what has no preview nothing is told."""
        if event.preview is None:
            return
        self._previews.append(event)
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(self._filled.set)

    def close(self) -> None:
        """On the event loop: whoever reads gets what is there, and then the end."""
        self._closed = True
        self._filled.set()

    async def __aiter__(self) -> AsyncIterator[Step | Seen]:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._previews:
                yield self._previews.popleft()
            if self._closed:
                return


class Run:
    """A task that was submitted: a job for each picture, and where one is painted again, the next
    when that has ended. For the event loop.

    Raises, when it is made, what `Attempts` raises; then none of its jobs goes on. How it ends
    is counted once, whether or not anybody waits for it.
    watch: called on the engine's thread with every step, and every map that was looked at. Of
    a stream's ``partial_images`` the chosen map is the first. Where pictures have a watermark,
    which previews have not, no picture is previewed.
    """

    def __init__(self, task: Task, metrics: Metrics, watch: Watcher | None = None) -> None:
        self.task = task
        self._pictures: list[Attempts | StagedJob] = []
        self._metrics = metrics
        self._shown = task.map_factor if task.stream and task.partial_images else None
        marked = task.model.engine.watermark is not None
        previews = 0 if marked else task.partial_images - (self._shown is not None)
        self._previewed = _previewed_steps(previews)
        self._seen = _seen_steps(task.map_previews)
        try:
            for index in range(task.count):
                self._pictures.append(self._begun(index, watch))
        except BaseException:
            self.cancel()
            raise
        self._ending = asyncio.ensure_future(self._end())
        self.when_ended(lambda: None)

    def _begun(self, index: int, watch: Watcher | None) -> Attempts | StagedJob:
        task, seed = self.task, self.task.seed + index
        if task.editing is None:
            return Attempts(task, seed, functools.partial(self._submit, index, watch))
        return StagedJob(
            task.editing.stages(task, seed),
            task.model.engine.manifest["factors"][-1]["name"],
            lambda stage: self._callbacks(index, watch, stage=stage),
            task.options.get("deadline"),
        )

    def _submit(
        self, index: int, watch: Watcher | None, attempt: int, options: Mapping[str, Any]
    ) -> Job:
        callbacks = self._callbacks(index, watch, attempt)
        return self.task.model.engine.submit(self.task.prompt, **callbacks, **options)

    def _callbacks(
        self, index: int, watch: Watcher | None, attempt: int = 0, stage: str = ""
    ) -> dict[str, Any]:
        """stage: of an edit by inversion, one of which looks at maps, and one paints the answer."""
        if watch is None:
            return {}
        editing = self.task.editing
        paints = editing is None or stage == editing.painting
        looks = editing is None or stage == "edit"

        def step(info: _core.StepInfo) -> bool:
            previews = self._previews(info, paints, looks)
            watch(Step(index, info.factor, info.step, info.num_steps, *previews, attempt, stage))
            return False

        def look(info: MapInfo) -> bool:
            watch(Seen(index, info, info.chosen and info.factor == self._shown, attempt))
            return False

        return {"step_callback": step, **({"map_callback": look} if looks else {})}

    def _previews(
        self, info: _core.StepInfo, paints: bool, looks: bool
    ) -> tuple[Image.Image | None, dict[int, NDArray[np.uint8]]]:
        """Of a step: the picture's, and each candidate's map, where they are wanted."""
        is_image = info.factor == self.task.model.engine.manifest["factors"][-1]["name"]
        preview = None
        if paints and is_image and info.step in self._previewed(info.num_steps):
            preview = Image.fromarray(info.preview())
        maps = {}
        if looks and not is_image and info.step in self._seen(info.num_steps):
            maps = {candidate: info.preview(candidate) for candidate in info.candidates}
        return preview, maps

    async def results(self) -> list[Result]:
        """Every picture's; the first failure cancels the others. Who stops waiting for them doesn't
        stop the run."""
        return await asyncio.shield(self._ending)

    def when_ended(self, function: Callable[[], object]) -> None:
        """Calls it on the event loop once the run has ended, however that was."""

        def tell(ending: asyncio.Future[list[Result]]) -> None:
            if not ending.cancelled():
                ending.exception()  # nobody has to wait for the results
            function()

        self._ending.add_done_callback(tell)

    async def results_for(self, gone: Awaitable[object], keep: bool) -> list[Result]:
        """As `results`, for a client. Where `gone` ends first, or whoever waits here is cancelled,
        the client has left: then the run is cancelled, unless it is kept."""
        leaving = asyncio.ensure_future(gone)
        try:
            await asyncio.wait({self._ending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            await self.left(keep)
        return self._ending.result()

    async def left(self, keep: bool) -> None:
        """Whoever asked has the answer, or doesn't wait for it any more: returns when the run has
        ended, which is soon, unless it is kept."""
        if not keep:
            self.cancel()
        await asyncio.wait({self._ending})

    async def _end(self) -> list[Result]:
        waiting = [asyncio.ensure_future(picture) for picture in self._pictures]
        try:
            results = list(await asyncio.gather(*waiting))
        except BaseException as error:
            self.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            self._metrics.answered(self.task, outcome_of(error))
            raise
        for result in results:
            self._metrics.painted(self.task, result)
        self._metrics.answered(self.task, "done")
        return results

    def cancel(self) -> None:
        for picture in self._pictures:
            picture.cancel()


class Runs:
    """A service's runs at work. For the event loop."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._at_work: set[Run] = set()

    def begin(self, task: Task, watch: Watcher | None = None) -> Run:
        """Raises what `Run` raises."""
        run = Run(task, self._metrics, watch)
        self._at_work.add(run)
        run.when_ended(lambda: self._at_work.discard(run))
        return run

    def cancel(self) -> None:
        """All of them."""
        for run in self._at_work:
            run.cancel()


def _previewed_steps(count: int) -> Callable[[int], set[int]]:
    """The steps of a picture after which it is previewed, evenly spread; not the last."""

    def steps(num_steps: int) -> set[int]:
        places = {round((i + 1) * num_steps / (count + 1)) - 1 for i in range(count)}
        return {step for step in places if 0 <= step < num_steps - 1}

    return steps


def _seen_steps(count: int) -> Callable[[int], set[int]]:
    """The steps of maps after which they are previewed, evenly spread; the last is among them."""

    def steps(num_steps: int) -> set[int]:
        return {round((i + 1) * num_steps / count) - 1 for i in range(count)} - {-1}

    return steps
