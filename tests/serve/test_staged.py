"""Jobs that follow one another as one: what ends them between two, over an engine that is told what
to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest
from fgdm import errors
from fgdm.result import Result
from fgdm.serve.staged import StagedJob
from fgdm.ways import Stage


class Job:
    """Ends at once."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def __await__(self) -> Generator[Any, None, str]:
        yield from asyncio.sleep(0).__await__()
        return "what the first made"


class Told:
    """Two stages, of which the second does what the test wants."""

    def __init__(self, second: Callable[[dict[str, Any]], Job]) -> None:
        self.jobs = [Job()]
        self.options: list[dict[str, Any]] = []
        self._second = second

    def stages(self) -> Generator[Stage, Any, Result]:
        made = yield Stage("inversion", self._first)
        assert made == "what the first made"
        yield Stage("edit", self._then)
        raise AssertionError("the second doesn't end")

    def _first(self, **options: Any) -> Any:
        self.options.append(options)
        return self.jobs[0]

    def _then(self, **options: Any) -> Any:
        self.options.append(options)
        self.jobs.append(self._second(options))
        return self.jobs[-1]


def run(
    told: Told, deadline: float | None = None, change: Callable[[StagedJob], object] = id
) -> None:
    async def wait() -> None:
        job = StagedJob(told.stages(), "image", lambda stage: {"stage": stage}, deadline)
        change(job)
        await job

    asyncio.run(asyncio.wait_for(wait(), 60))


def ends(_: dict[str, Any]) -> Job:
    raise errors.BackendError("the second failed")


def test_each_job_has_the_time_that_is_left() -> None:
    told = Told(ends)
    with pytest.raises(errors.BackendError, match="the second failed"):
        run(told, deadline=30.0)
    assert [options["stage"] for options in told.options] == ["inversion", "edit"]
    assert 0.0 < told.options[1]["deadline"] < told.options[0]["deadline"] <= 30.0


def test_no_job_begins_after_the_deadline() -> None:
    told = Told(ends)
    with pytest.raises(errors.DeadlineError, match=r"0\.05 seconds passed before the edit began"):
        run(told, deadline=0.05, change=lambda _: time.sleep(0.06))
    assert len(told.options) == 1


def test_no_job_begins_after_a_cancel() -> None:
    told = Told(ends)
    with pytest.raises(errors.CancelledError, match="before its next job began"):
        run(told, change=lambda job: job.cancel())
    assert len(told.options) == 1 and told.jobs[0].cancelled


def test_a_full_queue_is_waited_for() -> None:
    """The request was taken; only its first job is refused where the queue is full."""
    tries = []

    def full_twice(_: dict[str, Any]) -> Job:
        tries.append(1)
        if len(tries) < 3:
            raise errors.QueueFullError("full")
        return ends({})

    with pytest.raises(errors.BackendError, match="the second failed"):
        run(Told(full_twice))
    assert len(tries) == 3


def test_a_cancel_reaches_a_job_that_is_being_submitted() -> None:
    """Submitting is beside the event loop, where the cancel comes from."""
    held: list[StagedJob] = []

    def slow(_: dict[str, Any]) -> Job:
        held[0].cancel()
        return Job()

    told = Told(slow)
    with pytest.raises(AssertionError, match="doesn't end"):
        run(told, change=held.append)
    assert told.jobs[1].cancelled
