"""A submitted request: wait for it, cancel it, or take its result."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from fgdm.errors import CancelledError, RequestError
from fgdm.request import required_real

if TYPE_CHECKING:
    from fgdm import _core
    from fgdm.result import Result

# Python acts on Ctrl-C only between calls, so no wait inside the core is longer than this.
_SLICE_SECONDS = 0.1


class CallbackGuard:
    """Wraps a step callback: its exception stops the job and reaches whoever waits for it."""

    def __init__(self, callback: Callable[[_core.StepInfo], bool | None]) -> None:
        self._callback = callback
        self.error: BaseException | None = None

    def __call__(self, info: _core.StepInfo) -> bool:
        """Whether the job shall stop: the callback's answer, True if it raised."""
        try:
            return bool(self._callback(info))
        except BaseException as error:
            self.error = error
            return True


class Job:
    """A request in flight, as ``Engine.submit`` returns it. Any thread may call its methods."""

    def __init__(
        self,
        core: _core.Job,
        convert: Callable[[_core.Result], Result],
        guard: CallbackGuard | None = None,
    ) -> None:
        self._core = core
        self._convert = convert
        self._guard = guard
        self._result: Result | None = None

    def cancel(self) -> None:
        """Asks the job to stop after the batch it is running. No effect on a finished job."""
        self._core.cancel()

    def done(self) -> bool:
        """Whether the job has ended: with a result, an error or cancelled."""
        return self._core.done()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the job has ended, at most `timeout` seconds; whether it has.

        Raises RequestError for a timeout that is no number.
        """
        if timeout is not None and math.isnan(timeout := required_real("timeout", timeout)):
            raise RequestError("timeout must be a number of seconds, got nan")
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _SLICE_SECONDS if deadline is None else deadline - time.monotonic()
            if self._core.wait(max(0.0, min(left, _SLICE_SECONDS))):
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False

    def result(self) -> Result:
        """Waits for the result. Ctrl-C interrupts the wait, not the job.

        Raises what ended the job: any class of ``fgdm.errors``, or the exception that its step
        callback raised.
        """
        if self._result is None:
            self.wait()
            try:
                core_result = self._core.result()
            except CancelledError:
                if self._guard is not None and self._guard.error is not None:
                    raise self._guard.error from None
                raise
            self._result = self._convert(core_result)
        return self._result

    def when_done(self, function: Callable[[], object]) -> None:
        """Calls `function` once the job has ended: on the engine's thread, or at once if it has.

        Requests wait for it, so it should only pass word on; what it raises is reported as
        unraisable. Raises RequestError for what can't be called.
        """
        if not callable(function):
            raise RequestError(f"when_done takes a function, got {type(function).__name__}")
        self._core.when_done(function)

    def __await__(self) -> Generator[Any, None, Result]:
        """``await engine.submit(...)``: the result, without blocking the event loop. A cancelled
        awaiting task cancels the job."""
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def tell() -> None:
            if not ended.done():
                ended.set_result(None)

        def pass_on() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(tell)

        self.when_done(pass_on)
        try:
            yield from ended
        except asyncio.CancelledError:
            self.cancel()
            raise
        return self.result()


def complete(job: Job) -> Result:
    """The job's result; an interrupted wait cancels the job, lets it end, and passes on."""
    try:
        return job.result()
    except BaseException:
        job.cancel()
        job.wait()
        raise
