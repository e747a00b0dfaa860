"""What OpenAI's routes lack: a request that is submitted, looked at, fetched and cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Literal

from fgdm import errors
from fgdm.result import Result

from .errors import ApiError, of_engine, too_many
from .metrics import Metrics
from .requests import Task
from .runs import Run, Step
from .settings import Settings
from .store import Store
from .streams import event, job_event

Status = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(eq=False)
class ServedJob:
    """A task on its way. who: whose it is. For the event loop, but for `watch`."""

    task: Task
    who: str
    name: str = ""
    status: Status = "queued"
    created: float = field(default_factory=time.time)
    last_step: Step | None = None
    results: list[Result] = field(default_factory=list)
    error: ApiError | None = None
    run: Run | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    work: asyncio.Future[None] | None = None

    @property
    def ended(self) -> bool:
        return self.status in ("done", "failed", "cancelled")

    def watch(self, loop: asyncio.AbstractEventLoop, step: Step) -> None:
        """On the engine's thread."""
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(self._step, step)

    def _step(self, step: Step) -> None:
        if not self.ended:
            self.last_step, self.status = step, "running"
            self.tell()

    def tell(self) -> None:
        """Wakes whoever waits for a change."""
        self.changed.set()
        self.changed = asyncio.Event()


class Jobs:
    """The jobs of a service."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._metrics, self._most = metrics, settings.max_requests
        self._store: Store[ServedJob] = Store(
            settings.job_seconds, settings.most_jobs, lambda job: job.ended
        )

    def submit(self, task: Task, who: str) -> ServedJob:
        """Raises ApiError (429) for one too many of somebody's, and what `Run` raises."""
        at_work = sum(job.who == who and not job.ended for job in self._store.values())
        if at_work >= self._most:
            raise too_many(at_work)
        job = ServedJob(task, who)
        loop = asyncio.get_running_loop()
        job.run = Run(task, lambda step: job.watch(loop, step))
        job.name = self._store.add(job)
        job.work = asyncio.ensure_future(self._finish(job))
        return job

    def get(self, name: str) -> ServedJob:
        """Raises ApiError (404)."""
        found = self._store.get(name)
        if found is None:
            raise ApiError(
                404,
                f"there is no job {name!r:.60}; ended ones are kept for a time",
                code="not_found",
            )
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
                }
                for result in job.results
            ]
        return described

    async def events(self, job: ServedJob) -> AsyncGenerator[str, None]:
        """Where the job stands, then each change, until it has ended. Who reads slowly misses
        steps, not the end."""
        told: tuple[Status, Step | None] | None = None
        while True:
            changed = job.changed
            if told != (job.status, job.last_step):
                told = job.status, job.last_step
                yield event({"type": f"job.{job.status}", **self.describe(job)})
            if job.ended:
                return
            await changed.wait()

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
            job.results = await job.run.results()
            job.status = "done"
            for result in job.results:
                self._metrics.painted(job.task, result)
        except errors.CancelledError:
            job.status = "cancelled"
        except errors.Error as error:
            job.status, job.error = "failed", of_engine(error)
        self._metrics.answered(job.task, job.error.code if job.error else job.status)
        self._store.renew(job.name)
        job.tell()
