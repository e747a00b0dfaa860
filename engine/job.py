"""A submitted request: wait for it, cancel it, or take its result."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import math
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, ParamSpec

import numpy as np
from fgdm.errors import CancelledError, RequestError
from fgdm.values import required_real

if TYPE_CHECKING:
    from fgdm import _core
    from fgdm.factor_result import MapInfo
    from fgdm.result import Result
    from typing_extensions import TypeVar

    #: What the request results in.
    R = TypeVar("R", default=Result)
else:
    from typing import TypeVar

    R = TypeVar("R")

#: The parameters of a method that submits.
P = ParamSpec("P")

StepCallback = Callable[["_core.StepInfo"], "bool | None"]
MapCallback = Callable[["MapInfo"], "bool | None"]

# Python acts on Ctrl-C only between calls, so no wait inside the core is longer than this.
_SLICE_SECONDS = 0.1


class CallbackGuard:
    """Wraps a request's callback: its exception stops the job and reaches whoever waits for it.

    name: the callback's, for the RequestError that says it can't be called. convert: makes what the
    callback sees of what the core calls it with.
    """

    def __init__(
        self,
        name: str,
        callback: Callable[[Any], Any],
        convert: Callable[..., Any] = lambda info: info,
    ) -> None:
        if not callable(callback):
            raise RequestError(f"{name} must be a function, got {type(callback).__name__}")
        self._callback, self._convert = callback, convert
        self.error: BaseException | None = None

    def __call__(self, *arguments: Any) -> bool:
        """Whether the job shall stop: the callback's answer, True if it raised."""
        try:
            return bool(self._callback(self._convert(*arguments)))
        except BaseException as error:
            self.error = error
            return True


class SelectGuard(CallbackGuard):
    """Wraps the function that chooses among a factor's maps; its exception, too, stops the job.

    select: called with the list of Candidates; returns the place of one, from 0, or a number for
    each, of which the first largest one chooses. convert: makes a Candidate of the core's.
    """

    def choose(self, factor: str, candidates: Sequence[Any]) -> int | None:
        """The place of the chosen one; None if the function failed."""
        try:
            maps = [self._convert(candidate) for candidate in candidates]
            return _place(factor, self._callback(maps), len(maps))
        except BaseException as error:
            self.error = error
            return None


def _place(factor: str, answer: object, count: int) -> int:
    """What a select function answered, as a place among the maps. Raises RequestError."""
    if isinstance(answer, (int, np.integer)) and not isinstance(answer, bool):
        if 0 <= answer < count:
            return int(answer)
    elif isinstance(answer, (Sequence, np.ndarray)) and not isinstance(answer, (str, bytes)):
        try:
            scores = np.asarray(answer, np.float64)
        except (TypeError, ValueError):
            scores = np.empty(0)
        if scores.shape == (count,) and not np.isnan(scores).any():
            return int(scores.argmax())
    raise RequestError(
        f"select answered {answer!r:.200} for the maps of factor {factor}, expected the place of "
        f"one, 0 to {count - 1}, or a list of {count} numbers, the largest of which chooses"
    )


class Job(Generic[R]):
    """A request in flight, as ``Engine.submit`` returns it. Any thread may call its methods."""

    def __init__(
        self,
        core: _core.Job,
        convert: Callable[[_core.Result], R],
        guards: Iterable[CallbackGuard] = (),
        slow: bool = False,
    ) -> None:
        """convert: makes the result of the core's. slow: whether that takes its time, so that an
        event loop shall not wait for it."""
        self._slow = slow
        self._core = core
        self._convert = convert
        self._guards = tuple(guards)
        self._result: R | None = None

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

    def result(self) -> R:
        """Waits for the result. Ctrl-C interrupts the wait, not the job.

        Raises what ended the job: any class of ``fgdm.errors``, or the exception that a callback of
        its raised.
        """
        if self._result is None:
            self.wait()
            try:
                core_result = self._core.result()
            except CancelledError:
                for guard in self._guards:
                    if guard.error is not None:
                        raise guard.error from None
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

    def __await__(self) -> Generator[Any, None, R]:
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
        if self._slow:
            return (yield from loop.run_in_executor(None, self.result))
        return self.result()


def complete(job: Job[R]) -> R:
    """The job's result; an interrupted wait cancels the job, lets it end, and passes on."""
    try:
        return job.result()
    except BaseException:
        job.cancel()
        job.wait()
        raise


def completed(submit: Callable[P, Job[R]], name: str, doc: str) -> Callable[P, R]:
    """`submit` with the same parameters, which waits: the method `name` beside a submit_`name`."""

    @functools.wraps(submit)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return complete(submit(*args, **kwargs))

    signature = inspect.signature(submit)
    result = str(signature.return_annotation).removeprefix("Job[").removesuffix("]")
    call.__name__ = name
    call.__qualname__ = f"{submit.__qualname__.rpartition('.')[0]}.{name}"
    call.__doc__ = doc
    call.__annotations__ = {**submit.__annotations__, "return": result}
    call.__signature__ = signature.replace(return_annotation=result)  # type: ignore[attr-defined]
    return call
