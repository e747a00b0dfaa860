"""Jobs and pictures of a replica that any other replica can be asked about."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable
from typing import Any

from fgdm import errors
from fgdm.result import Result
from fgdm.serve.board import Board, Picture, as_png, check_done, no_picture, picture_of
from fgdm.serve.editing import read_job
from fgdm.serve.errors import ApiError, absent, of_engine
from fgdm.serve.jobs import Jobs, ServedJob, no_job
from fgdm.serve.models import Models
from fgdm.serve.requests import ImageRequest, Task
from fgdm.serve.settings import Settings
from fgdm.serve.store import Store
from fgdm.serve.streams import event

from .ledger import Found, Order, Orders, Painted

log = logging.getLogger("fgdm.serve")

#: Seconds between two beats of a replica; a cancelled job stops so much later.
BEAT = 0.5
#: Seconds between two words about a job's steps.
_TELL = 0.1
#: Seconds for which the ledger is asked to wait for a change.
_WATCH = 10.0


class SharedBoard(Board):
    """Works on jobs here and keeps them in the cluster's ledger.

    ledger: the actor of a `Ledger`. owner: this replica's name there.
    """

    def __init__(
        self,
        jobs: Jobs,
        pictures: Store[Picture],
        *,
        models: Models,
        settings: Settings,
        ledger: Any,
        owner: str,
    ) -> None:
        super().__init__(jobs, pictures)
        self._models, self._settings = models, settings
        self._ledger, self._owner = ledger, owner
        self._working: dict[str, tuple[ServedJob, asyncio.Task[None]]] = {}
        self._adopting = True
        self._beating: asyncio.Future[None] | None = None

    async def begin(self) -> None:
        self._beating = asyncio.ensure_future(self._beat())

    async def end(self, grace_seconds: float) -> None:
        """What isn't finished by then is begun anew by other replicas."""
        self._adopting = False
        if following := [follow for _, follow in self._working.values()]:
            await asyncio.wait(following, timeout=grace_seconds)
        if self._beating is not None:
            self._beating.cancel()
        left = [follow for _, follow in self._working.values()]
        for follow in left:
            follow.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._ledger.leave.remote(self._owner)
        await self.jobs.end(0.0)

    async def submit(self, task: Task, body: ImageRequest, who: str) -> dict[str, Any]:
        job = self.jobs.submit(task, who)
        kept: dict[str, Any] = {**body.model_dump(exclude_none=True), "seed": task.seed}
        described = self.jobs.describe(job)
        try:
            await self._ledger.add.remote(job.name, self._owner, who, kept, described)
        except BaseException:
            self._cancel(job)
            raise
        self._follow(job.name, job, who, kept)
        return described

    async def show(self, name: str) -> dict[str, Any]:
        found = await self._found(self._ledger.changed.remote(name, -1, 0.0), name)
        described: dict[str, Any] = found[1]
        return described

    async def cancel(self, name: str) -> dict[str, Any]:
        described: dict[str, Any] = await self._found(self._ledger.cancel.remote(name), name)
        return described

    async def events(self, name: str) -> AsyncGenerator[str, None]:
        first = await self._found(self._ledger.changed.remote(name, -1, 0.0), name)
        return self._events(name, *first)

    async def image(self, name: str, index: int) -> Picture:
        return await self._painted(name, index, None, None)

    async def candidate(self, name: str, index: int, factor: str | None, candidate: int) -> Picture:
        return await self._painted(name, index, factor, candidate)

    async def keep(self, picture: Picture) -> str:
        name: str = await self._ledger.keep.remote(picture)
        return name

    async def kept(self, name: str) -> Picture:
        picture: Picture | None = await self._ledger.kept.remote(name)
        if picture is None:
            raise no_picture()
        return picture

    async def _painted(
        self, name: str, index: int, factor: str | None, candidate: int | None
    ) -> Picture:
        asked = self._ledger.painted.remote(name, index, factor, candidate)
        found: Found = await self._found(asked, name)
        check_done(found.status)
        if not 0 <= index < found.images:
            raise absent(index, found.images, "image")
        if found.picture is None:
            raise absent(candidate or 0, found.maps, "candidate")
        return found.picture

    async def _found(self, asked: Awaitable[Any], name: str) -> Any:
        found = await asked
        if found is None:
            raise no_job(name)
        return found

    async def _events(
        self, name: str, version: int, described: dict[str, Any]
    ) -> AsyncGenerator[str, None]:
        while True:
            yield event({"type": f"job.{described['status']}", **described})
            if described["status"] in ("done", "failed", "cancelled"):
                return
            known = version
            while version == known:
                found = await self._ledger.changed.remote(name, known, _WATCH)
                if found is None:
                    yield event({"type": "error", **no_job(name).content()})
                    return
                version, described = found

    async def _beat(self) -> None:
        while True:
            try:
                orders: Orders = await self._ledger.beat.remote(self._owner, self._adopting)
            except Exception as error:  # whatever it is, the next beat asks again
                log.warning("the cluster's ledger doesn't answer: %s", error)
                await asyncio.sleep(BEAT)
                continue
            if orders.forgotten:
                for job, _ in self._working.values():
                    job.tell()
            for name in orders.cancel:
                if name in self._working:
                    self._cancel(self._working[name][0])
            for order in orders.adopt:
                await self._adopt(order)
            await asyncio.sleep(BEAT)

    async def _adopt(self, order: Order) -> None:
        try:
            body = ImageRequest.model_validate(order.body)
            model = await self._models.opened(body.model)
            job = self.jobs.submit(read_job(body, model, self._settings), order.who)
        except (ApiError, errors.Error) as error:
            failure = error if isinstance(error, ApiError) else of_engine(error)
            if failure.status_code == 429:
                await self._ledger.refuse.remote(order.name, self._owner)
            else:
                content = failure.content()
                await self._ledger.fail.remote(order.name, self._owner, content)
            return
        self._follow(order.name, job, order.who, order.body)

    def _follow(self, name: str, job: ServedJob, who: str, body: dict[str, Any]) -> None:
        following = asyncio.ensure_future(self._tell_all(name, job, who, body))
        self._working[name] = job, following
        following.add_done_callback(lambda _: self._working.pop(name, None))

    async def _tell_all(self, name: str, job: ServedJob, who: str, body: dict[str, Any]) -> None:
        """Tells the ledger of every change until the job has ended, or is another's."""
        while True:
            changed, ended = job.changed, job.ended
            painted = [await _with_maps(job, result) for result in job.results]
            described = {**self.jobs.describe(job), "id": name}
            mine = await self._ledger.tell.remote(name, self._owner, described, painted)
            if mine is None:  # the ledger has begun anew, and knows nothing
                await self._ledger.add.remote(name, self._owner, who, body, described)
                continue
            if not mine:
                self._cancel(job)
                return
            if ended:
                return
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(changed.wait(), _WATCH)
            await asyncio.sleep(_TELL)

    def _cancel(self, job: ServedJob) -> None:
        if job.run is not None:
            job.run.cancel()


async def _with_maps(job: ServedJob, result: Result) -> Painted:
    maps: dict[str | None, list[Picture]] = {
        name: [await as_png(candidate.map) for candidate in factor.candidates]
        for name, factor in result.factors.items()
    }
    maps[None] = maps.get(job.task.map_factor, [])
    return Painted(await picture_of(job, result), maps)
