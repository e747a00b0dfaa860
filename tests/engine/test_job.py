"""Protects how waiting ends: by a result, an error, a callback's exception, or Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from fgdm.errors import BackendError, CancelledError
from fgdm.job import CallbackGuard, Job, complete
from fgdm.result import Result


class CoreJob:
    """A core job that ends after `waits` calls of wait."""

    def __init__(self, waits: int = 0, error: Exception | None = None) -> None:
        self.waits = waits
        self.error = error
        self.cancelled = False
        self.interrupt: BaseException | None = None
        self.longest = 0.0

    def cancel(self) -> None:
        self.cancelled = True
        self.waits = 0
        self.error = CancelledError("the request was cancelled")

    def done(self) -> bool:
        return self.waits <= 0

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.longest = max(self.longest, timeout)
        if self.interrupt is not None:
            interrupt, self.interrupt = self.interrupt, None
            raise interrupt
        self.waits -= 1
        return self.waits <= 0

    def result(self) -> str:
        if self.error is not None:
            raise self.error
        return "core result"


def job_of(core: CoreJob, result: Result, *guards: CallbackGuard) -> tuple[Job, list[object]]:
    converted: list[object] = []

    def convert(core_result: object) -> Result:
        converted.append(core_result)
        return result

    return Job(cast(Any, core), convert, guards), converted


def test_result_waits_in_short_slices_and_converts_once(make_result: Callable[..., Result]) -> None:
    core, result = CoreJob(waits=3), make_result()
    job, converted = job_of(core, result)
    assert not job.done()
    assert job.result() is result and job.result() is result
    assert job.done()
    assert converted == ["core result"]
    assert core.longest <= 0.1  # so that Ctrl-C is acted on soon


def test_wait_gives_up_in_time(make_result: Callable[..., Result]) -> None:
    job, _ = job_of(CoreJob(waits=10**9), make_result())
    began = time.monotonic()
    assert not job.wait(0.05)
    assert time.monotonic() - began < 1
    assert not job.wait(0)


def test_errors_of_the_core_pass_on(make_result: Callable[..., Result]) -> None:
    job, _ = job_of(CoreJob(error=BackendError("no")), make_result())
    with pytest.raises(BackendError):
        job.result()


def test_cancel_ends_in_cancelled_error(make_result: Callable[..., Result]) -> None:
    job, _ = job_of(CoreJob(waits=5), make_result())
    job.cancel()
    with pytest.raises(CancelledError):
        job.result()


def test_ctrl_c_cancels_what_generate_waits_for(make_result: Callable[..., Result]) -> None:
    core = CoreJob(waits=10**9)
    core.interrupt = KeyboardInterrupt()
    job, _ = job_of(core, make_result())
    with pytest.raises(KeyboardInterrupt):
        complete(job)
    assert core.cancelled and job.done()


def test_ctrl_c_leaves_a_submitted_job_running(make_result: Callable[..., Result]) -> None:
    core = CoreJob(waits=2)
    core.interrupt = KeyboardInterrupt()
    job, _ = job_of(core, make_result())
    with pytest.raises(KeyboardInterrupt):
        job.result()
    assert not core.cancelled
    job.result()


def test_exception_in_a_callback_stops_the_job_and_reaches_the_caller(
    make_result: Callable[..., Result],
) -> None:
    def callback(info: object) -> None:
        raise ZeroDivisionError("in the callback")

    guard = CallbackGuard("step_callback", callback)
    assert guard(cast(Any, None)) is True  # tells the core to stop
    job, _ = job_of(CoreJob(error=CancelledError("stopped")), make_result(), guard)
    with pytest.raises(ZeroDivisionError, match="in the callback"):
        job.result()


@pytest.mark.parametrize(("answer", "stops"), [(None, False), (False, False), (True, True)])
def test_a_callback_stops_by_returning_true(answer: bool | None, stops: bool) -> None:
    assert CallbackGuard("step_callback", lambda info: answer)(cast(Any, None)) is stops
