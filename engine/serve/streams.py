"""Server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any

from fgdm import errors
from starlette.concurrency import run_in_threadpool

from . import answers
from .errors import of_engine
from .metrics import Metrics
from .runs import Channel, Run, Step

#: Seconds of silence after which a comment shows that the connection lives.
KEEP_ALIVE = 10.0


def event(content: dict[str, Any]) -> str:
    return f"event: {content['type']}\ndata: {json.dumps(content)}\n\n"


async def with_comments(
    events: AsyncGenerator[str, None], seconds: float
) -> AsyncGenerator[str, None]:
    """The events, and a comment after each silence of so many seconds."""
    waiting: asyncio.Future[str] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({waiting}, timeout=seconds)
            if not done:
                yield ": still at work\n\n"
                continue
            try:
                content = waiting.result()
            except StopAsyncIteration:
                return
            waiting = None
            yield content
    finally:
        if waiting is not None:
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                await waiting
        await events.aclose()


async def picture_events(
    run: Run, channel: Channel, metrics: Metrics, keep_running: bool
) -> AsyncGenerator[str, None]:
    """Previews while the pictures form, and each picture; an error is the last event.

    keep_running: whether the run goes on when nobody reads any more.
    """
    task = run.task
    ending = asyncio.ensure_future(_ended(run, channel))
    indices = [0] * task.count
    outcome = "cancelled"  # unless the end is reached
    try:
        async for step in channel:
            content = await run_in_threadpool(
                answers.partial_event, task, step, indices[step.picture]
            )
            indices[step.picture] += 1
            yield event(content)
        for result in await ending:
            metrics.painted(task, result)
            yield event(await run_in_threadpool(answers.completed_event, task, result))
        outcome = "done"
    except errors.Error as error:
        failure = of_engine(error)
        outcome = failure.code
        yield event({"type": "error", **failure.content()})
    finally:
        metrics.answered(task, outcome)
        if not keep_running:
            run.cancel()
            ending.cancel()
            with contextlib.suppress(asyncio.CancelledError, errors.Error):
                await ending


async def _ended(run: Run, channel: Channel) -> list[Any]:
    try:
        return await run.results()
    finally:
        channel.close()


def job_event(step: Step) -> dict[str, Any]:
    return {
        "type": "job.step",
        "picture": step.picture,
        "factor": step.factor,
        "step": step.step + 1,
        "num_steps": step.num_steps,
    }
