"""What OpenAI's routes lack: a request that is submitted, looked at, fetched and cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Literal

from fastapi import Request
from fgdm import errors
from fgdm.result import Result
from PIL import Image
from starlette.concurrency import run_in_threadpool

from . import answers
from .errors import ApiError, internal, nth, of_engine, too_many
from .forming import Forming
from .requests import Task
from .runs import Run, Runs, Seen, Step
from .settings import Settings
from .store import Store
from .streams import event, job_event

log = logging.getLogger("fgdm.serve")

Status = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(eq=False)
class ServedJob:
    """A task on its way. who: whose it is. maps: by picture, factor and candidate, the last of each
    while it is at work; then the results have them. edits: of each result `answers.edit_facts`. For
    the event loop, but for `watch`."""

    task: Task
    who: str
    name: str = ""
    status: Status = "queued"
    created: float = field(default_factory=time.time)
    last_step: Step | None = None
    maps: dict[tuple[int, str, int], Seen] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    edits: list[dict[str, Any]] = field(default_factory=list)
    error: ApiError | None = None
    run: Run | None = None
    changes: int = 0
    forming: Forming = field(default_factory=Forming)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    work: asyncio.Future[None] | None = None

    @property
    def ended(self) -> bool:
        return self.status in ("done", "failed", "cancelled")

    def watch(self, loop: asyncio.AbstractEventLoop, event: Step | Seen) -> None:
        """On the engine's thread."""
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(self._see, event)

    def _see(self, event: Step | Seen) -> None:
        if self.ended:
            return
        self.status = "running"
        if isinstance(event, Step):
            self.last_step = event
            self.forming.take(event)
        else:
            self._keep(event)
        self.tell()

    def _keep(self, seen: Seen) -> None:
        """Maps of an earlier attempt go."""
        picture, factor = seen.picture, seen.info.factor
        self.maps = {
            key: other
            for key, other in self.maps.items()
            if key[:2] != (picture, factor) or other.attempt == seen.attempt
        }
        self.maps[picture, factor, seen.info.candidate.index] = seen

    def map_of(self, picture: int, factor: str, candidate: int) -> Image.Image:
        """Of a job that has results, theirs; else the last that was looked at. ApiError (404)."""
        if self.results:
            result = nth(self.results, picture, "image")
            if factor not in result.factors:
                raise ApiError(
                    404,
                    f"there is no map of factor {factor!r:.60}; there are those of "
                    f"{', '.join(result.factors) or 'none'}",
                    code="not_found",
                )
            return nth(result.factors[factor].candidates, candidate, "candidate").map
        seen = self.maps.get((picture, factor, candidate))
        if seen is None:
            raise ApiError(
                404,
                f"image {picture} has no map of candidate {candidate} of factor {factor!r:.60}; "
                "the job says which there are",
                code="not_found",
            )
        return seen.info.candidate.map

    async def versions(self) -> AsyncGenerator[None, None]:
        """Yields for where the job stands, and again when that has changed. The last time it has
        ended, also where that happened while whoever reads was busy with the time before."""
        told = -1
        while True:
            changed = self.changed
            if told == self.changes:
                await changed.wait()
                continue
            told, ended = self.changes, self.ended
            yield
            if ended:
                return

    def tell(self) -> None:
        """Wakes whoever waits for a change."""
        self.changes += 1
        self.changed.set()
        self.changed = asyncio.Event()


def no_job(name: str) -> ApiError:
    return ApiError(
        404,
        f"there is no job {name!r:.60}; ended ones are kept for a time, and while there is room",
        code="not_found",
    )


#: Characters of a job's name before its owner's mark.
_UNIQUE = 24


def _new_name(who: str) -> str:
    """It can't be guessed, and says whose it is, so that no replica has to ask another."""
    unique = secrets.token_hex(_UNIQUE // 2)
    return unique + _mark(unique, who)


def _mark(unique: str, who: str) -> str:
    return hashlib.sha256(f"{unique} {who}".encode()).hexdigest()[:16]


async def own_job(name: str, request: Request) -> None:
    """For routes of one job. Raises ApiError (404) for a job of another key, as if there were
    none."""
    unique, mark = name[:_UNIQUE], name[_UNIQUE:]
    if not hmac.compare_digest(mark.encode(), _mark(unique, request.state.who).encode()):
        raise no_job(name)


def _bytes_of(result: Result) -> int:
    """What its pictures take in memory."""
    maps = [c for factor in result.factors.values() for c in factor.candidates]
    sizes = [3 * c.map.width * c.map.height + c.labels.nbytes for c in (*maps, *result.candidates)]
    return 3 * result.image.width * result.image.height + sum(sizes)


def _edits(task: Task, results: list[Result]) -> list[dict[str, Any]]:
    return [answers.edit_facts(task, result) for result in results]


class Jobs:
    """The jobs of a service."""

    def __init__(self, settings: Settings, runs: Runs) -> None:
        self._runs, self._most = runs, settings.max_requests
        self._store: Store[ServedJob] = Store(
            settings.job_seconds,
            settings.most_jobs,
            settings.job_bytes,
            may_go=lambda job: job.ended,
            size=lambda job: sum(_bytes_of(result) for result in job.results),
        )

    def submit(self, task: Task, who: str) -> ServedJob:
        """Raises ApiError (429) for one too many of somebody's, and what `Run` raises."""
        at_work = sum(job.who == who and not job.ended for job in self._store.values())
        if at_work >= self._most:
            raise too_many(at_work)
        job = ServedJob(task, who)
        loop = asyncio.get_running_loop()
        job.run = self._runs.begin(task, lambda event: job.watch(loop, event))
        job.name = self._store.add(job, _new_name(who))
        job.work = asyncio.ensure_future(self._finish(job))
        return job

    def get(self, name: str) -> ServedJob:
        """Raises ApiError (404)."""
        found = self._store.get(name)
        if found is None:
            raise no_job(name)
        return found

    def describe(self, job: ServedJob) -> dict[str, Any]:
        """Without its pictures."""
        described: dict[str, Any] = {
            "id": job.name,
            "status": job.status,
            "created": int(job.created),
            "model": job.task.model.name,
            "size": job.task.size,
            "n": job.task.count,
        }
        if job.status == "queued":
            waiting = [other for other in self._store.values() if other.status == "queued"]
            described["position"] = waiting.index(job)
        if job.last_step is not None and not job.ended:
            described["progress"] = job_event(job.last_step)
        if not job.ended:
            described["maps"] = [
                {"picture": seen.picture, **seen.facts()} for seen in job.maps.values()
            ]
        if job.error is not None:
            described |= job.error.content()
        if job.results:
            described["results"] = [
                {
                    "seed": result.seed,
                    "recall": result.recall,
                    "found": list(result.found),
                    "missing": list(result.missing),
                    "chosen": result.chosen,
                    "candidates": [c.to_json() for c in result.candidates],
                    **({"repaint": result.repaint.to_json()} if result.repaint else {}),
                    **edit,
                }
                for result, edit in zip(job.results, job.edits, strict=True)
            ]
        return described

    async def events(self, job: ServedJob) -> AsyncGenerator[str, None]:
        """Where the job stands, then each change, until it has ended. Who reads slowly misses
        steps, not the end."""
        async for _ in job.versions():
            yield event({"type": f"job.{job.status}", **self.describe(job)})

    async def end(self, grace_seconds: float) -> None:
        """Lets what is at work end, so many seconds long, and cancels the rest."""
        working = [job for job in self._store.values() if job.work is not None and not job.ended]
        if not working:
            return
        work = [job.work for job in working if job.work is not None]
        await asyncio.wait(work, timeout=grace_seconds)
        for job in working:
            if job.run is not None:
                job.run.cancel()
        await asyncio.wait(work)

    async def _finish(self, job: ServedJob) -> None:
        assert job.run is not None
        try:
            results = await job.run.results()
            job.edits = await run_in_threadpool(_edits, job.task, results)
            job.results = results
            job.status = "done"
        except errors.CancelledError:
            job.status = "cancelled"
        except errors.Error as error:
            job.status, job.error = "failed", of_engine(error)
        except Exception as error:
            job.status, job.error = "failed", internal(error)
            log.exception("job %s failed", job.name)
        # The results have what became of it; what it was made from is given up.
        job.maps.clear()
        job.run, job.last_step, job.forming = None, None, Forming()
        job.task = job.task.without_pictures()
        self._store.renew(job.name)
        job.tell()
