"""What the routes share: engines, jobs, runs, settings, numbers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from fgdm import errors
from fgdm.result import Result
from starlette.concurrency import run_in_threadpool

from . import answers, streams
from .board import Board, Picture
from .errors import no_more
from .event_response import Events
from .jobs import Jobs
from .metrics import Metrics
from .models import Model, Models
from .pictures import MEDIA_TYPES, in_base64
from .requests import ImageRequest, Task, read_by_model, read_task
from .runs import Channel, Runs
from .settings import Settings
from .store import Store

#: Fields of a JSON body that may hold pictures, which are decoded while others are answered.
_WITH_PICTURES = {"factors", "control_images", "edits"}


class Service:
    """For one event loop. board: made of the service's jobs and pictures."""

    def __init__(
        self,
        models: Models,
        settings: Settings,
        board: Callable[[Jobs, Store[Picture]], Board] = Board,
    ) -> None:
        self.models, self.settings = models, settings
        self.metrics = Metrics(models)
        self.runs = Runs(self.metrics)
        self.board = board(
            Jobs(settings, self.runs),
            Store(
                settings.url_seconds,
                settings.most_urls,
                settings.url_bytes,
                size=lambda picture: len(picture[0]),
            ),
        )
        self.draining = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._moved: dict[str, tuple[int, float]] = {}

    @property
    def jobs(self) -> Jobs:
        """Of this process."""
        return self.board.jobs

    def begin(self) -> None:
        """On the event loop, before the first request."""
        self._loop = asyncio.get_running_loop()

    def drain(self) -> None:
        """From any thread: no new requests from now on; those at work are cancelled when they have
        had `grace_seconds`."""
        if self.draining:
            return
        self.draining = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(
                self._loop.call_later, self.settings.grace_seconds, self.runs.cancel
            )

    async def model(self, name: str | None, request: Request) -> Model:
        """The model that a request asks for. Raises ApiError (404)."""
        model = await self.models.opened(name)
        request.state.log = {"model": model.name}
        return model

    async def read(
        self,
        body: ImageRequest,
        request: Request,
        reader: Callable[[ImageRequest, Model, Settings], Task] = read_task,
    ) -> Task:
        """Raises ApiError (400, 404), and RequestError."""
        model = await self.model(body.model, request)
        if _WITH_PICTURES & (body.model_extra or {}).keys():
            task = await run_in_threadpool(reader, body, model, self.settings)
        else:
            task = reader(body, model, self.settings)
        return await self.read_prompt(task, body)

    async def read_prompt(self, task: Task, body: ImageRequest) -> Task:
        """By the language model, if the request wants that. Raises ApiError (400)."""
        if body.requirements_from != "llm":
            return task
        return await run_in_threadpool(read_by_model, task)

    def note(self, task: Task, request: Request) -> None:
        """For the log."""
        request.state.log |= {"n": task.count, "size": task.size}
        if self.settings.log_prompts:
            request.state.log["prompt"] = task.prompt

    async def answer(self, task: Task, request: Request) -> Response:
        """Pictures in one body, or as a stream of events. A request is at work until its run has
        ended, also one whose client has left."""
        self.note(task, request)
        keep = self.settings.keep_running
        if task.stream:
            channel = Channel()
            run = self.runs.begin(task, channel.send)
            run.when_ended(channel.close)
            request.state.accepted = True
            events = streams.with_comments(streams.picture_events(run, channel), streams.KEEP_ALIVE)
            return Events(events, lambda: run.left(keep))
        run = self.runs.begin(task)
        request.state.accepted = True
        try:
            results = await run.results_for(_gone(request), keep)
        except errors.CancelledError:
            if self.draining:
                raise no_more() from None
            raise
        data = [await self._data(task, result, request) for result in results]
        return JSONResponse(answers.images_response(task, results, data))

    def is_moving(self) -> bool:
        """Whether no engine has had work for `stalled_seconds` without a step."""
        now = time.monotonic()
        for model in self.models:
            numbers = model.engine.metrics()
            batches, since = self._moved.get(model.name, (-1, now))
            if numbers["batches"] != batches or not numbers["active"]:
                self._moved[model.name] = numbers["batches"], now
            elif now - since > self.settings.stalled_seconds:
                return False
        return True

    async def _data(self, task: Task, result: Result, request: Request) -> dict[str, str]:
        content = await run_in_threadpool(answers.picture_of, task, result)
        if not task.as_url:
            return {"b64_json": in_base64(content)}
        name = await self.board.keep((content, MEDIA_TYPES[task.form]))
        return {"url": str(request.url_for("picture", name=f"{name}.{task.form}"))}


async def _gone(request: Request) -> None:
    """Ends when the client leaves."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return
