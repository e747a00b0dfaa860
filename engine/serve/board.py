"""Where jobs and pictures are until they are fetched: of one process; cluster/ has another."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from fgdm.result import Result
from PIL import Image
from starlette.concurrency import run_in_threadpool

from . import answers
from .errors import ApiError, nth
from .jobs import Jobs, ServedJob
from .pictures import MEDIA_TYPES, encode
from .requests import ImageRequest, Task
from .store import Store

#: A picture's bytes and their media type.
Picture = tuple[bytes, str]


class Board:
    """What the routes of jobs and of pictures' addresses ask. Raises ApiError where they answer so:
    404 for what isn't there, 409 for pictures of a job that isn't done."""

    def __init__(self, jobs: Jobs, pictures: Store[Picture]) -> None:
        self.jobs, self.pictures = jobs, pictures

    async def begin(self) -> None:
        """Called once, before the first request."""

    async def end(self, grace_seconds: float) -> None:
        """Lets jobs end, so many seconds long, and cancels the rest."""
        await self.jobs.end(grace_seconds)

    async def submit(self, task: Task, body: ImageRequest, who: str) -> dict[str, Any]:
        """body: what the task was read from. Returns the job's description."""
        return self.jobs.describe(self.jobs.submit(task, who))

    async def show(self, name: str) -> dict[str, Any]:
        return self.jobs.describe(self.jobs.get(name))

    async def cancel(self, name: str) -> dict[str, Any]:
        """No effect on a job that has ended."""
        job = self.jobs.get(name)
        if job.run is not None:
            job.run.cancel()
        return self.jobs.describe(job)

    async def events(self, name: str) -> AsyncGenerator[str, None]:
        """Server-sent events, from where the job stands to its end."""
        return self.jobs.events(self.jobs.get(name))

    async def image(self, name: str, index: int) -> Picture:
        job = self.jobs.get(name)
        check_done(job.status)
        return await picture_of(job, nth(job.results, index, "image"))

    async def candidate(self, name: str, index: int, factor: str | None, candidate: int) -> Picture:
        """A candidate's map as PNG. factor: None is the one that the picture is judged by."""
        job = self.jobs.get(name)
        return await as_png(job.map_of(index, factor or job.task.map_factor or "", candidate))

    async def keep(self, picture: Picture) -> str:
        """The name that `kept` finds it by, for a time."""
        return self.pictures.add(picture)

    async def kept(self, name: str) -> Picture:
        found = self.pictures.get(name)
        if found is None:
            raise no_picture()
        return found


async def picture_of(job: ServedJob, result: Result) -> Picture:
    """In the format that was asked for."""
    content = await run_in_threadpool(answers.picture_of, job.task, result)
    return content, MEDIA_TYPES[job.task.form]


async def as_png(picture: Image.Image) -> Picture:
    return await run_in_threadpool(encode, picture, "png", 100), MEDIA_TYPES["png"]


def check_done(status: str) -> None:
    if status != "done":
        raise ApiError(
            409,
            f"the job is {status}; its pictures are there once it is done",
            code="not_done",
            retry=False,
        )


def no_picture() -> ApiError:
    return ApiError(
        404,
        "there is no such picture; addresses hold for a time, and while there is room",
        code="not_found",
    )
