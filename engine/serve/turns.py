"""What jobs of one picture share that begin one after another: time, an end, and patience."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fgdm import errors

#: Seconds after which an engine whose queue was full is asked again.
_AGAIN = 0.1

T = TypeVar("T")


class Turns:
    """deadline: seconds from now for all of the jobs together; None: as long as it takes."""

    def __init__(self, deadline: float | None) -> None:
        self._deadline, self._began = deadline, time.monotonic()
        self.cancelled = False

    @property
    def left(self) -> float | None:
        """Seconds; 0.0 or less where the deadline has passed."""
        return None if self._deadline is None else self._deadline - self.passed

    @property
    def passed(self) -> float:
        """Seconds."""
        return time.monotonic() - self._began

    def check(self, when: str) -> None:
        """Raises CancelledError or DeadlineError where nothing shall follow. when: such as "between
        attempts", for the deadline's message."""
        if self.cancelled:
            raise errors.CancelledError("the request was cancelled before its next job began")
        left = self.left
        if left is not None and left <= 0.0:
            raise self.late(when)

    def late(self, when: str) -> errors.DeadlineError:
        """The error of what didn't end in time."""
        return errors.DeadlineError(
            f"the deadline of {self._deadline:g} seconds passed {when}; allow more time"
        )

    async def submitted(self, submit: Callable[[], Awaitable[T]]) -> T:
        """What `submit` returns, once the engine's queue has room: the request was taken, so it
        waits for its turn. Raises whatever else `submit` raises."""
        while True:
            try:
                return await submit()
            except errors.QueueFullError:
                await asyncio.sleep(_AGAIN)
