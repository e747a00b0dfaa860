"""Server-sent events as an answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class Events(StreamingResponse):
    """Server-sent events. at_the_end: awaited when they have been sent, or nobody waits for them,
    also where nothing was sent."""

    def __init__(
        self,
        events: AsyncGenerator[str, None],
        at_the_end: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        super().__init__(
            events,
            media_type="text/event-stream",
            headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
        )
        self._events, self._at_the_end = events, at_the_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()
            if self._at_the_end is not None:
                await self._at_the_end()
