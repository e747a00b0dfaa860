"""What the studio's page asks beside the service's other routes: bundles with their palettes, the
objects of a prompt, jobs whose maps can be seen while they form."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from fgdm.compliance import check_map
from fgdm.engine import Engine
from fgdm.factor_result import FactorResult
from fgdm.picture_files import png
from PIL import Image
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from . import answers, pictures, streams
from .bodies import JsonRoute
from .editing import read_job
from .errors import ApiError, wrong
from .event_response import Events
from .forming import MIN_AREA, described
from .jobs import ServedJob, own_job
from .models import Model
from .requests import ImageRequest, Task, limit_entries, read_edit, read_task, take_files
from .requirement_words import NO_WORDS, in_words
from .service import Service
from .settings import Settings


class ObjectsRequest(BaseModel):
    """A prompt, as far as it is typed."""

    prompt: str
    model: str | None = None


class WordsRequest(BaseModel):
    """What maps shall meet, as requests have it."""

    requirements: dict[str, Any]
    model: str | None = None


class CheckRequest(BaseModel):
    """A map that is edited, as 8-bit grey PNG in base64, and what it shall meet."""

    labels: str
    requirements: dict[str, Any]
    model: str | None = None


def routes(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1/studio", tags=["studio"], route_class=JsonRoute)
    mine = [Depends(own_job)]
    settings = service.settings

    @router.get("/bundles")
    async def bundles() -> dict[str, Any]:
        """Every bundle with its factors, palette and sizes, and what a request may ask."""
        return {
            "bundles": [_described(model) for model in service.models],
            "limits": {
                "images": settings.max_images,
                "candidates": settings.max_candidates,
                "steps": settings.max_steps,
                "repaint": settings.max_repaint,
                "body_bytes": settings.max_body_bytes,
            },
        }

    @router.post("/objects", responses={400: {}})
    async def objects(body: ObjectsRequest) -> dict[str, Any]:
        """The classes that a prompt asks for, those it excludes, and words that name none; its
        requirements in the form that requests take, and in words; what of them was not
        understood."""
        model = service.models.find(body.model)
        palette = model.engine.palette
        if palette is None:
            return {
                **{"requested": [], "unrecognized": [], "excluded": []},
                **{"requirements": {}, "words": NO_WORDS, "not_understood": []},
            }
        return await run_in_threadpool(_read_prompt, model.engine, body.prompt, palette)

    @router.post("/words", responses={400: {}})
    async def words(body: WordsRequest) -> dict[str, Any]:
        """Requirements in words, as ``/objects`` has them of a prompt's."""
        model = service.models.find(body.model)
        palette = _palette(model)
        limit_entries({"requirements": body.requirements})
        return await run_in_threadpool(in_words, body.requirements, palette)

    @router.post("/check", responses={400: {}})
    async def check(body: CheckRequest) -> dict[str, Any]:
        """Which requirements a map meets."""
        model = service.models.find(body.model)
        palette = _palette(model)
        limit_entries({"requirements": body.requirements})
        (factor,) = (f for f in model.engine.manifest["factors"] if f["name"] == model.map_factor)
        pixels = settings.max_pixels or model.size[0] * model.size[1]
        content = pictures.bytes_of(body.labels, "labels")
        labels = pictures.labels(content, "labels", model.map_pixels(pixels, 1))
        min_area = factor.get("min_area") or MIN_AREA
        found = await run_in_threadpool(
            lambda: check_map(labels, body.requirements, palette, min_area=min_area)
        )
        return described(found)

    @router.post("/jobs", status_code=202, responses={400: {}})
    async def submit(body: ImageRequest, request: Request) -> dict[str, Any]:
        """As ``POST /v1/jobs``. ``image`` and ``mask`` in base64 are what they are at
        ``/v1/images/edits``, also without ``edits``."""
        model = await service.model(body.model, request)
        task = await run_in_threadpool(_read, body, model, settings)
        task = await service.read_prompt(task, body)
        service.note(task, request)
        described = service.jobs.describe(service.jobs.submit(task, request.state.who))
        request.state.accepted = True
        return described

    @router.get(
        "/jobs/{name}/events", response_class=Response, responses={404: {}}, dependencies=mine
    )
    async def events(name: str) -> Response:
        """The job's changes as server-sent events, with the maps and previews that are new. The
        last one has ``facts``: each result as ``Result.to_json`` has it, and ``pictures``: of each
        its ``image``, and the ``maps`` of factors that have one."""
        job = service.jobs.get(name)
        return Events(streams.with_comments(_events(service, job), streams.KEEP_ALIVE))

    @router.get(
        "/jobs/{name}/images/{index}/factors/{factor}/{candidate}",
        response_class=Response,
        responses={200: {"content": {"image/png": {}}}, 404: {}, 409: {}},
        dependencies=mine,
    )
    async def factor_map(name: str, index: int, factor: str, candidate: int) -> Response:
        """A factor's map: class indices as 8-bit grey PNG where it makes labels, else RGB."""
        found = _result(service.jobs.get(name), index).factors.get(factor)
        if found is None or not 0 <= candidate < len(found.candidates):
            raise ApiError(404, "there is no such map", code="not_found")
        content = await run_in_threadpool(_map_png, found, candidate)
        return Response(content, media_type="image/png")

    return router


def _read_prompt(engine: Engine, prompt: str, palette: dict[str, Any]) -> dict[str, Any]:
    found, read = engine.find_objects(prompt), engine.find_requirements(prompt)
    return {
        "requested": found.requested,
        "unrecognized": found.unrecognized,
        "excluded": found.excluded,
        "requirements": read.requirements,
        "words": in_words(read.requirements, palette),
        "not_understood": read.not_understood,
    }


def _palette(model: Model) -> dict[str, Any]:
    """Raises ApiError (400) for a bundle without one."""
    palette = model.engine.palette
    if palette is None:
        raise wrong("model", f"bundle {model.name} makes no labels, which could be checked")
    return palette


def _described(model: Model) -> dict[str, Any]:
    engine = model.engine
    *conditions, image = engine.manifest["factors"]
    palette = engine.palette
    return {
        "name": model.name,
        "backend": engine.info.backend,
        "precision": engine.info.precision,
        "width": model.size[1],
        "height": model.size[0],
        "multiple": {"width": model.multiple[1], "height": model.multiple[0]},
        "steps": image["num_inference_steps"],
        "guidance": image["guidance"],
        "scored": model.scoring is not None,
        "factors": [
            {
                "name": factor["name"],
                "output": factor.get("output") or "labels",
                "lines": factor.get("lines") or "white",
                "optional": factor.get("optional") is True,
                "width": factor["width"],
                "height": factor["height"],
                "steps": factor["num_inference_steps"],
                "min_area": factor.get("min_area") or MIN_AREA,
            }
            for factor in conditions
        ],
        "palette": None
        if palette is None
        else {
            "name": palette["name"],
            "tolerance": palette["tolerance"],
            "classes": [
                {
                    "name": entry["name"],
                    "color": entry["color"],
                    "kind": entry["kind"],
                    "synonyms": entry.get("synonyms", []),
                }
                for entry in palette["classes"]
            ],
        },
    }


def _read(body: ImageRequest, model: Model, settings: Settings) -> Task:
    if (body.model_extra or {}).get("edits") is not None:
        return read_job(body, model, settings)
    body, files = take_files(body)
    if "mask" in files and "image" not in files:
        raise wrong("mask", "a mask needs the picture that it belongs to, in the field image")
    return read_edit(body, files, model, settings) if files else read_task(body, model, settings)


async def _events(service: Service, job: ServedJob) -> AsyncGenerator[str, None]:
    """As `Jobs.events`, with what forms, and in the end what `Result.to_json` has."""
    told: object = None
    number = 0
    async for _ in job.versions():
        now = job.status, job.last_step
        if told == now:
            continue
        told = now
        # All of it as it is now: what becomes of the job meanwhile is told the next time.
        content = {"type": f"job.{job.status}", **service.jobs.describe(job)}
        if facts := [result.to_json() for result in job.results]:
            content["facts"] = facts
            content["pictures"] = await run_in_threadpool(_pictures, job)
        news, number = await run_in_threadpool(job.forming.news, job.task, number)
        yield streams.event({**content, **news})


def _pictures(job: ServedJob) -> list[dict[str, Any]]:
    """Of each result its picture, and the maps of factors that have one alone, as a map that was
    given is: who paints again waits for no further answer."""
    return [
        {
            "image": pictures.in_base64(answers.picture_of(job.task, result)),
            "maps": {
                name: pictures.in_base64(_map_png(factor, 0))
                for name, factor in result.factors.items()
                if len(factor.candidates) == 1
            },
        }
        for result in job.results
    ]


def _result(job: ServedJob, index: int) -> Any:
    if job.status != "done":
        raise ApiError(
            409, f"the job is {job.status}; its results are there once it is done", code="not_done"
        )
    if not 0 <= index < len(job.results):
        raise ApiError(404, f"there is no image {index}", code="not_found")
    return job.results[index]


def _map_png(factor: FactorResult, candidate: int) -> bytes:
    found = factor.candidates[candidate]
    return png(Image.fromarray(found.labels) if found.labels.size else found.map)
