"""A task's jobs in the engine: awaited together, watched step by step, cancelled as one."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fgdm.job import Job
from fgdm.result import Result
from PIL import Image

from .requests import Task

if TYPE_CHECKING:
    from fgdm import _core

#: Previews that may wait to be sent; older ones are dropped for newer.
_MOST_PREVIEWS = 4


@dataclass(frozen=True)
class Step:
    """A step that a picture's job has taken. preview: of the image, where one was asked for."""

    picture: int
    factor: str
    step: int
    num_steps: int
    preview: Image.Image | None = None


class Channel:
    """Previews from the engine's thread to the event loop; nobody on the engine's thread waits."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._steps: deque[Step] = deque(maxlen=_MOST_PREVIEWS)
        self._filled = asyncio.Event()
        self._closed = False

    def send(self, step: Step) -> None:
        """From any thread; of steps without a preview nothing is told."""
        if step.preview is None:
            return
        self._steps.append(step)
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(self._filled.set)

    def close(self) -> None:
        """On the event loop: whoever reads gets what is there, and then the end."""
        self._closed = True
        self._filled.set()

    async def __aiter__(self) -> AsyncIterator[Step]:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._steps:
                yield self._steps.popleft()
            if self._closed:
                return


class Run:
    """A task that was submitted: a job for each picture. For the event loop.

    Raises, when it is made, what `Engine.submit` raises; then none of its jobs goes on.
    watch: called on the engine's thread with every step.
    """

    def __init__(self, task: Task, watch: Callable[[Step], object] | None = None) -> None:
        self.task = task
        self.jobs: list[Job] = []
        self._watch = watch
        self._previewed = _previewed_steps(task.partial_images)
        try:
            for index in range(task.count):
                self.jobs.append(
                    task.model.engine.submit(
                        task.prompt,
                        seed=task.seed + index,
                        step_callback=None if watch is None else self._callback(index),
                        **task.options,
                    )
                )
        except BaseException:
            self.cancel()
            raise

    async def results(self) -> list[Result]:
        """Every picture's; the first failure cancels the others."""
        waiting = [asyncio.ensure_future(job) for job in self.jobs]
        try:
            return list(await asyncio.gather(*waiting))
        except BaseException:
            self.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            raise

    def cancel(self) -> None:
        for job in self.jobs:
            job.cancel()

    def _callback(self, index: int) -> Callable[[_core.StepInfo], bool]:
        image = self.task.model.engine.manifest["factors"][-1]["name"]

        def step(info: _core.StepInfo) -> bool:
            assert self._watch is not None
            preview = None
            if info.factor == image and info.step in self._previewed(info.num_steps):
                preview = Image.fromarray(info.preview())
            self._watch(Step(index, info.factor, info.step, info.num_steps, preview))
            return False

        return step


def _previewed_steps(count: int) -> Callable[[int], set[int]]:
    """The steps of a picture after which it is previewed, evenly spread; not the last."""

    def steps(num_steps: int) -> set[int]:
        places = {round((i + 1) * num_steps / (count + 1)) - 1 for i in range(count)}
        return {step for step in places if 0 <= step < num_steps - 1}

    return steps


async def until_gone(work: Awaitable[Any], gone: Awaitable[Any], run: Run, keep: bool) -> Any:
    """What `work` results in; where `gone` ends first, the run is cancelled, unless it is kept."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone)
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done() and not keep:
            run.cancel()
        return await working
    finally:
        leaving.cancel()
