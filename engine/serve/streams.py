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


async def picture_events(run: Run, channel: Channel) -> AsyncGenerator[str, None]:
    """Previews while the pictures form, and each picture; an error is the last event.

    channel: to be closed when the run has ended.
    """
    task = run.task
    indices = [0] * task.count
    try:
        async for seen in channel:
            index = indices[seen.picture]
            yield event(await run_in_threadpool(answers.partial_event, task, seen, index))
            indices[seen.picture] += 1
        for result in await run.results():
            yield event(await run_in_threadpool(answers.completed_event, task, result))
    except errors.Error as error:
        yield event({"type": "error", **of_engine(error).content()})


def job_event(step: Step) -> dict[str, Any]:
    return {
        "type": "job.step",
        "picture": step.picture,
        "attempt": step.attempt,
        "factor": step.factor,
        "step": step.step + 1,
        "num_steps": step.num_steps,
        **({"stage": step.stage} if step.stage else {}),
    }
