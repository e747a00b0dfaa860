"""Jobs apart from HTTP: what a stream of their events tells, whenever they end."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import replace
from typing import Any

from fgdm.engine import Engine
from fgdm.serve import studio
from fgdm.serve.app import create_app
from fgdm.serve.forming import Forming
from fgdm.serve.jobs import ServedJob
from fgdm.serve.models import Models
from fgdm.serve.requests import ImageRequest, Task, read_task
from fgdm.serve.runs import Step
from fgdm.serve.settings import Settings

#: What becomes of a job, at a moment of the test's choice.
Change = Callable[[ServedJob], None]


def running(models: Models) -> ServedJob:
    task = read_task(ImageRequest(prompt="a dog"), models.find(None), Settings())
    return ServedJob(task, "", "name", "running")


def step(job: ServedJob) -> None:
    job.last_step = Step(0, "image", (job.last_step.step if job.last_step else 0) + 1, 20)
    job.tell()


def end(job: ServedJob) -> None:
    job.status = "done"
    job.tell()


def told(events: AsyncGenerator[str, None], job: ServedJob, changes: list[Change]) -> list[str]:
    """The kinds of a stream's events, where a change comes while each is being sent."""

    async def read() -> list[str]:
        kinds = []
        async for text in events:
            kinds.append(json.loads(text.partition("data: ")[2])["type"])
            if changes:
                changes.pop(0)(job)
        return kinds

    return asyncio.run(asyncio.wait_for(read(), 60))


def test_a_job_that_ends_while_an_event_is_sent_tells_so(models: Models) -> None:
    jobs = create_app(models).state.service.jobs
    for changes in ([end], [step, end], [step, step, end]):
        job = running(models)
        kinds = told(jobs.events(job), job, list(changes))
        assert kinds == ["job.running"] * len(changes) + ["job.done"]
    job = running(models)
    end(job)
    assert told(jobs.events(job), job, []) == ["job.done"], "it had ended before"


def test_the_studio_is_told_of_an_end_once(models: Models) -> None:
    """Also where it comes while what forms is made a picture, on another thread."""
    service = create_app(models).state.service

    class EndsMeanwhile(Forming):
        def __init__(self, job: ServedJob, loop: asyncio.AbstractEventLoop) -> None:
            super().__init__()
            self._job, self._loop = job, loop

        def news(self, task: Task, since: int) -> tuple[dict[str, Any], int]:
            ended = threading.Event()

            def end_now() -> None:
                if not self._job.ended:
                    end(self._job)
                ended.set()

            self._loop.call_soon_threadsafe(end_now)
            assert ended.wait(60)
            return super().news(task, since)

    async def read() -> list[str]:
        job = running(models)
        job.forming = EndsMeanwhile(job, asyncio.get_running_loop())
        events = [text async for text in studio._events(service, job)]
        return [json.loads(text.partition("data: ")[2])["type"] for text in events]

    assert asyncio.run(asyncio.wait_for(read(), 60)) == ["job.running", "job.done"]
    for changes in ([end], [step, end]):
        job = running(models)
        kinds = told(studio._events(service, job), job, list(changes))
        assert kinds == ["job.running"] * len(changes) + ["job.done"]


class Broken:
    """An engine whose jobs end with what no engine raises."""

    def __init__(self, engine: Engine) -> None:
        self.manifest, self.watermark = engine.manifest, engine.watermark
        self.has_segmenter = False

    def submit(self, *_: Any, **__: Any) -> Any:
        class Job:
            def cancel(self) -> None:
                pass

            def __await__(self) -> Generator[Any, None, None]:
                yield from asyncio.sleep(0).__await__()
                raise ZeroDivisionError

        return Job()


def test_a_job_ends_whatever_ends_it(engine: Engine) -> None:
    """It doesn't count as at work for ever, and its events end."""

    async def read() -> tuple[list[str], dict[str, Any]]:
        models = Models({"broken": Broken(engine)})  # type: ignore[dict-item]
        settings = Settings(max_requests=1)
        jobs = create_app(models, settings).state.service.jobs
        task = read_task(ImageRequest(prompt="a dog"), models.find(None), settings)
        for _ in range(2):  # the second isn't one too many
            job = jobs.submit(task, "")
            texts = [text async for text in jobs.events(job)]
        kinds = [json.loads(text.partition("data: ")[2])["type"] for text in texts]
        return kinds, jobs.describe(job)

    kinds, described = asyncio.run(asyncio.wait_for(read(), 60))
    assert kinds == ["job.queued", "job.failed"]
    assert described["error"]["code"] == "internal"


def test_an_ended_job_gives_up_what_it_was_made_from(models: Models) -> None:
    picture = "iVBORw0KGgo="
    asked = ImageRequest.model_validate({"prompt": "a dog", "candidates": 2})
    task = read_task(asked, models.find(None), Settings())
    with_maps = {**task.options, "image": picture, "mask": picture}
    with_maps["factors"] = {"segmentation": {"map": picture, "strength": 1.0}, "depth": None}
    task = replace(task, options=with_maps).without_pictures()
    assert task.options["factors"] == {"segmentation": {"strength": 1.0}, "depth": None}
    assert picture not in task.options.values() and task.options["candidates"] == 2
