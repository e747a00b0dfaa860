"""The ASGI application: OpenAI's image routes, jobs, and what operators look at."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fgdm import __version__, errors
from fgdm.result import Result
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from . import answers, streams
from . import errors as http_errors
from .errors import ApiError
from .guard import Guard
from .jobs import Jobs
from .metrics import Metrics
from .models import Models
from .pictures import MEDIA_TYPES, encode, in_base64
from .requests import ImageRequest, Task, read_edit, read_form, read_task
from .runs import Channel, Run, until_gone
from .settings import Settings
from .store import Store


class _Events(StreamingResponse):
    """Server-sent events. at_the_end: called when they have been sent, or nobody waits for them any
    more, also where nothing was sent."""

    def __init__(
        self,
        events: AsyncGenerator[str, None],
        at_the_end: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(
            events,
            media_type="text/event-stream",
            headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
        )
        self._at_the_end = at_the_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._at_the_end is not None:
                self._at_the_end()


def _makes(*media_types: str) -> dict[str, Any]:
    """What FastAPI is told of a route whose answer it doesn't make itself; errors are JSON."""
    contents: dict[str, Any] = {media_type: {} for media_type in media_types}
    errors_of_all = {"description": "error", "content": {"application/json": {}}}
    return {
        "response_class": Response,
        "responses": {
            200: {"description": "done", "content": contents},
            "4XX": errors_of_all,
            "5XX": errors_of_all,
        },
    }


class Service:
    """What the routes share. For one event loop."""

    def __init__(self, models: Models, settings: Settings) -> None:
        self.models, self.settings = models, settings
        self.metrics = Metrics(models)
        self.jobs = Jobs(settings, self.metrics)
        self.pictures: Store[tuple[bytes, str]] = Store(settings.url_seconds, settings.most_urls)
        self.draining = False
        self._moved: dict[str, tuple[int, float]] = {}

    async def answer(self, task: Task, request: Request) -> Response:
        """Pictures in one body, or as a stream of events."""
        request.state.log = {"model": task.model.name, "n": task.count, "size": task.size}
        if self.settings.log_prompts:
            request.state.log["prompt"] = task.prompt
        if task.stream:
            channel = Channel()
            run = self._begin(task, lambda: Run(task, channel.send))
            keep_running = self.settings.keep_running
            events = streams.picture_events(run, channel, self.metrics, keep_running)
            return _Events(
                streams.with_comments(events, streams.KEEP_ALIVE),
                None if keep_running else run.cancel,
            )
        run = self._begin(task, lambda: Run(task))
        try:
            results: list[Result] = await until_gone(
                run.results(), _gone(request), run, self.settings.keep_running
            )
        except errors.Error as error:
            self.metrics.answered(task, http_errors.of_engine(error).code)
            raise
        for result in results:
            self.metrics.painted(task, result)
        self.metrics.answered(task, "done")
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

    def _begin(self, task: Task, begin: Callable[[], Run]) -> Run:
        try:
            return begin()
        except errors.Error as error:
            self.metrics.answered(task, http_errors.of_engine(error).code)
            raise

    async def _data(self, task: Task, result: Result, request: Request) -> dict[str, str]:
        content = await run_in_threadpool(answers.picture_of, task, result)
        if not task.as_url:
            return {"b64_json": in_base64(content)}
        name = self.pictures.add((content, MEDIA_TYPES[task.form]))
        return {"url": str(request.url_for("picture", name=f"{name}.{task.form}"))}


def create_app(models: Models, settings: Settings | None = None) -> FastAPI:
    """The application over open engines, which stay the caller's to close.

    `app.state.service` is its Service.
    """
    chosen = settings or Settings()
    service = Service(models, chosen)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async def look() -> None:
            while True:
                service.is_moving()
                await asyncio.sleep(1.0)

        looking = asyncio.ensure_future(look())
        try:
            yield
        finally:
            looking.cancel()
            await service.jobs.end(chosen.grace_seconds)

    app = FastAPI(
        title="fgdm",
        version=__version__,
        summary="Prompt-compliant text-to-image diffusion behind OpenAI's image routes",
        lifespan=lifespan,
        exception_handlers={
            ApiError: http_errors.answer_api_error,
            errors.Error: http_errors.answer_engine_error,
            HTTPException: http_errors.answer_http_error,
            RequestValidationError: http_errors.answer_invalid,
            Exception: http_errors.answer_internal,
        },
    )
    app.state.service = service
    app.include_router(_openai_routes(service))
    app.include_router(_job_routes(service))
    app.include_router(_operators_routes(service))
    app.add_middleware(Guard, settings=chosen, is_draining=lambda: service.draining)
    return app


def _openai_routes(service: Service) -> APIRouter:
    router = APIRouter(tags=["OpenAI"])

    @router.post("/v1/images/generations", **_makes("application/json", "text/event-stream"))
    async def generate(body: ImageRequest, request: Request) -> Response:
        """One prompt, n pictures of n seeds. The engine's options stand beside OpenAI's fields."""
        task = read_task(body, service.models.find(body.model), service.settings)
        return await service.answer(task, request)

    @router.post(
        "/v1/images/edits",
        openapi_extra={"requestBody": {"content": {"multipart/form-data": {"schema": _EDIT}}}},
        **_makes("application/json", "text/event-stream"),
    )
    async def edit(request: Request) -> Response:
        """A picture, and words for what it becomes; a mask says where it is painted anew."""
        async with request.form(max_files=8, max_fields=64, max_part_size=2**20) as form:
            body, files = await read_form(form)
        model = service.models.find(body.model)
        task = await run_in_threadpool(read_edit, body, files, model, service.settings)
        return await service.answer(task, request)

    @router.get("/v1/images/{name}", name="picture", **_makes(*MEDIA_TYPES.values()))
    async def picture(name: str) -> Response:
        """A picture that was asked for by ``response_format: "url"``."""
        found = service.pictures.get(name.partition(".")[0])
        if found is None:
            raise ApiError(
                404, "there is no such picture; addresses hold for a time", code="not_found"
            )
        return Response(found[0], media_type=found[1])

    @router.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        return {"object": "list", "data": [_described(model) for model in service.models]}

    @router.get("/v1/models/{name}")
    async def show_model(name: str) -> dict[str, Any]:
        for model in service.models:
            if model.name == name:
                return _described(model)
        raise ApiError(404, f"there is no model {name!r:.100}", code="model_not_found")

    return router


_EDIT = {
    "type": "object",
    "required": ["image", "prompt"],
    "properties": {
        "image": {"type": "string", "format": "binary"},
        "mask": {"type": "string", "format": "binary"},
        "prompt": {"type": "string"},
    },
}


def _described(model: Any) -> dict[str, Any]:
    info = model.engine.info
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "fgdm",
        "fgdm": {
            "backend": info.backend,
            "precision": info.precision,
            "runtime": info.runtime,
            "height": model.size[0],
            "width": model.size[1],
            "factors": [factor["name"] for factor in model.engine.manifest["factors"]],
        },
    }


def _job_routes(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

    @router.post("", status_code=202)
    async def submit(body: ImageRequest, request: Request) -> dict[str, Any]:
        """The body of a generation; the answer has the job's id."""
        task = read_task(body, service.models.find(body.model), service.settings)
        return service.jobs.describe(service.jobs.submit(task, request.state.who))

    @router.get("/{name}", responses={404: {}})
    async def show(name: str) -> dict[str, Any]:
        return service.jobs.describe(service.jobs.get(name))

    @router.delete("/{name}", responses={404: {}})
    async def cancel(name: str) -> dict[str, Any]:
        """No effect on a job that has ended."""
        job = service.jobs.get(name)
        if job.run is not None:
            job.run.cancel()
        return service.jobs.describe(job)

    @router.get("/{name}/events", **_makes("text/event-stream"))
    async def events(name: str) -> Response:
        job = service.jobs.get(name)
        return _Events(streams.with_comments(service.jobs.events(job), streams.KEEP_ALIVE))

    @router.get("/{name}/images/{index}", **_makes(*MEDIA_TYPES.values()))
    async def image(name: str, index: int) -> Response:
        """A picture of a job that is done, in its format."""
        job = service.jobs.get(name)
        result = _nth(_done(job), index, "image")
        content = await run_in_threadpool(answers.picture_of, job.task, result)
        return Response(content, media_type=MEDIA_TYPES[job.task.form])

    @router.get("/{name}/images/{index}/candidates/{candidate}", **_makes("image/png"))
    async def candidate_map(name: str, index: int, candidate: int) -> Response:
        """A candidate's map as PNG."""
        job = service.jobs.get(name)
        result = _nth(_done(job), index, "image")
        found = _nth(list(result.candidates), candidate, "candidate")
        content = await run_in_threadpool(encode, found.map, "png", 100)
        return Response(content, media_type=MEDIA_TYPES["png"])

    return router


def _done(job: Any) -> list[Result]:
    if job.status != "done":
        raise ApiError(
            409,
            f"the job is {job.status}; its pictures are there once it is done",
            code="not_done",
            retry=False,
        )
    results: list[Result] = job.results
    return results


def _nth(entries: list[Any], index: int, what: str) -> Any:
    if not 0 <= index < len(entries):
        raise ApiError(
            404, f"there is no {what} {index}; there are {len(entries)}", code="not_found"
        )
    return entries[index]


def _operators_routes(service: Service) -> APIRouter:
    router = APIRouter(tags=["operation"])

    @router.get("/health", responses={503: {}})
    async def health() -> dict[str, str]:
        """Whether the engines get on with their work."""
        if not service.is_moving():
            raise ApiError(503, "an engine has work and makes no step", code="stalled")
        return {"status": "ok"}

    @router.get("/ready", responses={503: {}})
    async def ready() -> dict[str, str]:
        """Whether new requests are taken."""
        if service.draining:
            raise ApiError(503, "this service is ending", code="draining")
        return {"status": "ok"}

    @router.get("/metrics", **_makes("text/plain"))
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    return router


async def _gone(request: Request) -> None:
    """Ends when the client leaves."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return
