"""What outlives a replica: jobs, what came of them, and pictures' addresses.

One actor of the cluster holds it, on the head node. A job's replica tells it what changes; whoever
is asked about a job asks it. Jobs of a replica that goes, or says nothing for `lease_seconds`, are
handed to the others, who begin them anew: the seed is part of a job, so its pictures are the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fgdm.serve.board import Picture
from fgdm.serve.store import Store

#: A job that outlived so many replicas is likely what ended them.
MOST_ATTEMPTS = 3
#: Seconds after which replicas have told a ledger that began anew of the jobs at work.
SETTLED = 3.0


class Painted(NamedTuple):
    """A picture of a job, and its candidates' maps by factor; None: the one that the picture is
    judged by."""

    image: Picture
    maps: dict[str | None, list[Picture]]

    @property
    def size(self) -> int:
        """In bytes."""
        maps = [picture for by_factor in self.maps.values() for picture in by_factor]
        return sum(len(content) for content, _ in (self.image, *maps))


class Limits(NamedTuple):
    """Those of `Settings`, and `Arguments.lease_seconds`."""

    job_seconds: float
    most_jobs: int
    job_bytes: int
    url_seconds: float
    most_urls: int
    url_bytes: int
    lease_seconds: float


class Found(NamedTuple):
    """What is there of a job's pictures. picture: the one that was asked for, if it is there."""

    status: str
    images: int
    maps: int
    picture: Picture | None


class Order(NamedTuple):
    """A job to begin anew. body: of the request, with its seed."""

    name: str
    who: str
    body: dict[str, Any]


class Orders(NamedTuple):
    """What a replica is to do. cancel: names of its jobs. forgotten: it isn't known (any more), and
    tells of all its jobs again."""

    cancel: list[str]
    adopt: list[Order]
    forgotten: bool


@dataclass(eq=False)
class _Entry:
    who: str
    body: dict[str, Any]
    described: dict[str, Any]
    owner: str | None
    attempts: int = 1
    version: int = 0
    painted: list[Painted] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ended(self) -> bool:
        return self.described["status"] in ("done", "failed", "cancelled")

    def describe(self, described: dict[str, Any]) -> None:
        """Wakes whoever waits for a change."""
        self.described = {**described, "created": self.described["created"]}
        self.version += 1
        self.changed.set()
        self.changed = asyncio.Event()
        if self.ended:
            self.body = {}


class Ledger:
    """For one event loop. settled: seconds for which who asks for what isn't there has to wait."""

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        settled: float = SETTLED,
    ) -> None:
        self._jobs: Store[_Entry] = Store(
            limits.job_seconds,
            limits.most_jobs,
            limits.job_bytes,
            may_go=lambda entry: entry.ended,
            size=lambda entry: sum(painted.size for painted in entry.painted),
            clock=clock,
        )
        self._pictures: Store[Picture] = Store(
            limits.url_seconds,
            limits.most_urls,
            limits.url_bytes,
            size=lambda picture: len(picture[0]),
            clock=clock,
        )
        self._lease_seconds, self._clock = limits.lease_seconds, clock
        self._settled = clock() + settled
        self._seen: dict[str, float] = {}
        self._cancels: dict[str, list[str]] = {}

    async def limit(self, limits: Limits) -> None:
        """As replicas that start now are told."""
        self._jobs.limit(limits.job_seconds, limits.most_jobs, limits.job_bytes)
        self._pictures.limit(limits.url_seconds, limits.most_urls, limits.url_bytes)
        self._lease_seconds = limits.lease_seconds

    async def add(
        self, name: str, owner: str, who: str, body: dict[str, Any], described: dict[str, Any]
    ) -> None:
        """A job that `owner` has begun."""
        self._seen[owner] = self._clock()
        self._jobs.add(_Entry(who, body, described, owner), name)

    async def tell(
        self, name: str, owner: str, described: dict[str, Any], painted: list[Painted]
    ) -> bool | None:
        """Where a job stands. False: it is somebody else's by now; None: there is no such job."""
        entry = self._jobs.get(name)
        if entry is None:
            return None
        if entry.owner != owner or entry.ended:
            return False
        entry.painted = painted
        entry.describe(described)
        if entry.ended:
            self._jobs.renew(name)
        return True

    async def beat(self, owner: str, adopting: bool) -> Orders:
        """The replica lives. adopting: whether it takes jobs that others have lost."""
        forgotten = owner not in self._seen
        now = self._seen[owner] = self._clock()
        for other, seen in list(self._seen.items()):
            if now - seen > self._lease_seconds:
                self._lose(other)
        cancel = self._cancels.pop(owner, [])
        return Orders(cancel, self._share(owner) if adopting else [], forgotten)

    async def leave(self, owner: str) -> None:
        """The replica ends; others begin anew what it hasn't finished."""
        self._seen.pop(owner, None)
        self._cancels.pop(owner, None)
        for entry in self._jobs.values():
            if entry.owner == owner and not entry.ended:
                _wait_again(entry)

    async def refuse(self, name: str, owner: str) -> None:
        """The replica can't take on the job now."""
        entry = self._jobs.get(name)
        if entry is not None and entry.owner == owner:
            _wait_again(entry)

    async def fail(self, name: str, owner: str, error: dict[str, Any]) -> None:
        """The job can't be begun. error: the body of an answer."""
        entry = self._jobs.get(name)
        if entry is not None and entry.owner == owner and not entry.ended:
            entry.describe({**entry.described, "status": "failed", **error})

    async def changed(
        self, name: str, version: int, seconds: float
    ) -> tuple[int, dict[str, Any]] | None:
        """Where a job stands, and how often that has changed; waits for a change if it still has
        the version that is known."""
        entry = await self._find(name)
        if entry is None:
            return None
        if entry.version == version and not entry.ended:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(entry.changed.wait(), seconds)
        return entry.version, entry.described

    async def cancel(self, name: str) -> dict[str, Any] | None:
        """Where the job stood."""
        entry = await self._find(name)
        if entry is None:
            return None
        if not entry.ended:
            if entry.owner is None:
                entry.describe({**entry.described, "status": "cancelled"})
            else:
                self._cancels.setdefault(entry.owner, []).append(name)
        return entry.described

    async def painted(
        self, name: str, index: int, factor: str | None, candidate: int | None
    ) -> Found | None:
        """A job's picture, or the map of one of a factor's candidates."""
        entry = self._jobs.get(name)
        if entry is None:
            return None
        status, images = entry.described["status"], len(entry.painted)
        if not 0 <= index < images:
            return Found(status, images, 0, None)
        image, by_factor = entry.painted[index]
        maps = by_factor.get(factor, [])
        if candidate is None:
            return Found(status, images, len(maps), image)
        found = maps[candidate] if 0 <= candidate < len(maps) else None
        return Found(status, images, len(maps), found)

    async def keep(self, picture: Picture) -> str:
        return self._pictures.add(picture)

    async def kept(self, name: str) -> Picture | None:
        return self._pictures.get(name)

    async def _find(self, name: str) -> _Entry | None:
        while name not in self._jobs and self._clock() < self._settled:
            await asyncio.sleep(0.1)
        return self._jobs.get(name)

    def _lose(self, owner: str) -> None:
        """The replica says nothing any more."""
        del self._seen[owner]
        self._cancels.pop(owner, None)
        for entry in self._jobs.values():
            if entry.owner != owner or entry.ended:
                continue
            if entry.attempts >= MOST_ATTEMPTS:
                message = f"{entry.attempts} replicas ended while they worked on this job"
                error = {"message": message, "type": "server_error", "param": None}
                entry.describe(
                    {
                        **entry.described,
                        "status": "failed",
                        "error": {**error, "code": "replica_lost"},
                    }
                )
            else:
                entry.attempts += 1
                _wait_again(entry)

    def _share(self, owner: str) -> list[Order]:
        """What this replica takes of the jobs that nobody works on."""
        waiting = [
            (name, entry)
            for name, entry in self._jobs.items()
            if entry.owner is None and not entry.ended
        ]
        taken = waiting[: math.ceil(len(waiting) / len(self._seen))]
        for _, entry in taken:
            entry.owner = owner
        return [Order(name, entry.who, entry.body) for name, entry in taken]


def _wait_again(entry: _Entry) -> None:
    entry.owner = None
    described = {**entry.described, "status": "queued"}
    described.pop("progress", None)
    entry.describe(described)
