"""The ASGI application: OpenAI's image routes, jobs, and what operators look at."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fgdm import __version__, errors
from pydantic import ConfigDict
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from . import errors as http_errors
from . import streams, studio, studio_page
from .board import Board, Picture
from .bodies import JsonRoute
from .editing import read_editing, read_job
from .editing_schema import SCHEMA
from .errors import ApiError, no_more
from .event_response import Events
from .forms import read_form
from .guard import Guard
from .jobs import Jobs, own_job
from .models import Model, Models
from .pictures import MEDIA_TYPES
from .requests import ImageRequest, read_edit
from .service import Service
from .settings import Settings
from .store import Store


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


def create_app(
    models: Models,
    settings: Settings | None = None,
    board: Callable[[Jobs, Store[Picture]], Board] = Board,
    with_studio: bool = True,
) -> FastAPI:
    """The application over open engines, which stay the caller's to close.

    with_studio: whether it has the studio's page, whose jobs stay in one process.
    `app.state.service` is its Service.
    """
    chosen = settings or Settings()
    service = Service(models, chosen, board)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async def look() -> None:
            while True:
                service.is_moving()
                await asyncio.sleep(1.0)

        service.begin()
        looking = asyncio.ensure_future(look())
        await service.board.begin()
        try:
            yield
        finally:
            looking.cancel()
            await service.board.end(chosen.grace_seconds)

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
        },
    )
    app.state.service = service
    app.include_router(_openai_routes(service))
    app.include_router(_job_routes(service))
    app.include_router(_operators_routes(service))
    if with_studio:
        app.include_router(studio.routes(service))
        app.include_router(studio_page.routes())
    app.add_middleware(
        Guard,
        settings=chosen,
        is_draining=lambda: service.draining,
        refused=service.metrics.refused,
    )
    return app


def _openai_routes(service: Service) -> APIRouter:
    router = APIRouter(tags=["OpenAI"], route_class=JsonRoute)

    @router.post("/v1/images/generations", **_makes("application/json", "text/event-stream"))
    async def generate(body: ImageRequest, request: Request) -> Response:
        """One prompt, n pictures of n seeds. The engine's options stand beside OpenAI's fields."""
        task = await service.read(body, request)
        return await service.answer(task, request)

    @router.post(
        "/v1/images/edits",
        openapi_extra={"requestBody": {"content": {"multipart/form-data": {"schema": _EDIT}}}},
        **_makes("application/json", "text/event-stream"),
    )
    async def edit(request: Request) -> Response:
        """A picture, and words for what it becomes; a mask says where it is painted anew. With
        ``edits``, the picture, or a map, is inverted, and changed where they say."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("multipart/form-data", "application/x-www-form-urlencoded"):
            raise ApiError(
                400,
                f"an edit is a form, multipart/form-data; got {kind[:60] or 'no content-type'}",
                code="invalid_body",
            )
        async with request.form(max_files=8, max_fields=128, max_part_size=2**20) as form:
            body, files = await read_form(form)
        model = await service.model(body.model, request)
        inverts = (body.model_extra or {}).get("edits") is not None
        read = read_editing if inverts else read_edit
        task = await run_in_threadpool(read, body, files, model, service.settings)
        task = await service.read_prompt(task, body)
        return await service.answer(task, request)

    @router.get("/v1/images/{name}", name="picture", **_makes(*MEDIA_TYPES.values()))
    async def picture(name: str) -> Response:
        """A picture that was asked for by ``response_format: "url"``."""
        return _picture(await service.board.kept(name.partition(".")[0]))

    @router.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        opened = [_described(*known) for known in service.models.named()]
        return {"object": "list", "data": opened + [_named(n) for n in service.models.closed]}

    @router.get("/v1/models/{name:path}")
    async def show_model(name: str) -> dict[str, Any]:
        for known, model in service.models.named():
            if known == name:
                return _described(known, model)
        if name in service.models.closed:
            return _named(name)
        raise ApiError(404, f"there is no model {name!r:.100}", code="model_not_found")

    return router


_FILE = {"type": "string", "format": "binary"}
_EDIT = {
    "type": "object",
    "required": ["prompt"],
    "properties": {
        "image": {**_FILE, "description": "required without edits"},
        "mask": _FILE,
        "prompt": {"type": "string"},
        "map": {**_FILE, "description": "of an edit by inversion, the picture's map"},
        "labels": {**_FILE, "description": "the same as class indices, an 8-bit grey PNG"},
        **{
            name: {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": schema,
                "description": schema.get("description", "of an edit by inversion"),
            }
            for name, schema in SCHEMA.items()
        },
    },
}


class JobRequest(ImageRequest):
    """The body of a generation, or with ``edits`` of an edit by inversion (docs/serving.md)."""

    model_config = ConfigDict(
        json_schema_extra=lambda schema: schema["properties"].update(
            {
                **SCHEMA,
                "image": {"type": "string", "description": "of an edit by inversion, base64"},
                "mask": {"type": "string", "description": "likewise, where it acts"},
            }
        )
    )


def _named(name: str) -> dict[str, Any]:
    """Of a bundle that isn't open."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "fgdm"}


def _described(name: str, model: Model) -> dict[str, Any]:
    info = model.engine.info
    return {
        **_named(name),
        "created": model.created,
        "fgdm": {
            "backend": info.backend,
            "precision": info.precision,
            "runtime": info.runtime,
            "height": model.size[0],
            "width": model.size[1],
            "bundle": model.name,
            "factors": [factor["name"] for factor in model.engine.manifest["factors"]],
        },
    }


def _job_routes(service: Service) -> APIRouter:
    router, board = APIRouter(tags=["jobs"], route_class=JsonRoute), service.board
    one = APIRouter(prefix="/v1/jobs/{name}", dependencies=[Depends(own_job)])

    @router.post("/v1/jobs", status_code=202)
    async def submit(body: JobRequest, request: Request) -> dict[str, Any]:
        """The body of a generation, or of an edit by inversion; the answer has the job's id."""
        task = await service.read(body, request, read_job)
        service.note(task, request)
        described = await board.submit(task, body, request.state.who)
        request.state.accepted = True
        return described

    @one.get("", responses={404: {}})
    async def show(name: str) -> dict[str, Any]:
        return await board.show(name)

    @one.delete("", responses={404: {}})
    async def cancel(name: str) -> dict[str, Any]:
        """No effect on a job that has ended."""
        return await board.cancel(name)

    @one.get("/events", **_makes("text/event-stream"))
    async def events(name: str) -> Response:
        return Events(streams.with_comments(await board.events(name), streams.KEEP_ALIVE))

    @one.get("/images/{index}", **_makes(*MEDIA_TYPES.values()))
    async def image(name: str, index: int) -> Response:
        """A picture of a job that is done, in its format."""
        return _picture(await board.image(name, index))

    @one.get("/images/{index}/candidates/{candidate}", **_makes("image/png"))
    async def candidate_map(name: str, index: int, candidate: int) -> Response:
        """A candidate's map as PNG, of the factor that the picture is judged by."""
        return _picture(await board.candidate(name, index, None, candidate))

    @one.get("/images/{index}/factors/{factor}/candidates/{candidate}", **_makes("image/png"))
    async def factor_map(name: str, index: int, factor: str, candidate: int) -> Response:
        """A candidate's map of any factor; of a job at work, what it is about to become."""
        return _picture(await board.candidate(name, index, factor, candidate))

    router.include_router(one)
    return router


def _picture(picture: Picture) -> Response:
    content, media_type = picture
    return Response(content, media_type=media_type)


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
            raise no_more()
        return {"status": "ok"}

    @router.get("/metrics", **_makes("text/plain"))
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    return router
