"""One picture of a task: its job in the engine and, where pictures are scored, those of the next
attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

from fgdm.errors import DeadlineError
from fgdm.job import Job
from fgdm.repaint import Painting
from fgdm.result import Result

from .requests import Task
from .scoring import Scoring
from .turns import Turns

if TYPE_CHECKING:
    from fgdm.scorers import Score

_BETWEEN = "between attempts"


class Attempts:
    """For the event loop, on which nothing is scored.

    seed: of the first attempt. submit: called with the number of an attempt and its options, of
    `Engine.submit`; the first time at once, and what it raises then is raised here, as is
    RequestError for what can't be painted again. The deadline is that of all attempts together.
    """

    def __init__(
        self, task: Task, seed: int, submit: Callable[[int, Mapping[str, Any]], Job]
    ) -> None:
        self._task, self._submit = task, submit
        self._painting: Painting | None = None
        options = {**task.options, "seed": seed}
        self._turns = Turns(options.get("deadline"))
        if task.repaint is not None:
            # The next pictures of the task have the next seeds.
            self._painting = Painting(
                task.model.engine, task.prompt, options, task.repaint, seed_step=task.count
            )
        self._job = submit(0, options)
        self._scored: asyncio.Future[Score] | None = None

    def __await__(self) -> Generator[Any, None, Result]:
        """The result of the attempt that is kept. Raises what ended the last one, and what the
        scorer raises."""
        return self._result().__await__()

    async def _result(self) -> Result:
        result = await self._job
        painting, scoring = self._painting, self._task.model.scoring
        if painting is None or scoring is None:
            return result
        while True:
            painting.take(result, await self._score(scoring, painting, result))
            if painting.options is None:
                return painting.result
            self._job = await self._next(painting.attempts, painting.options)
            try:
                result = await self._job
            except DeadlineError:  # which names what was left for this attempt
                raise self._turns.late(f"in attempt {painting.attempts}") from None

    def cancel(self) -> None:
        """What is at work, and whatever would follow. What the scorer makes of the picture that it
        has is dropped."""
        self._turns.cancelled = True
        self._job.cancel()
        if self._scored is not None:
            self._scored.cancel()

    async def _score(self, scoring: Scoring, painting: Painting, result: Result) -> Score:
        self._turns.check(_BETWEEN)
        self._scored = scoring.begin(result.image, self._task.prompt, painting.required)
        await asyncio.wait({self._scored}, timeout=self._turns.left)
        self._turns.check(_BETWEEN)
        if not self._scored.done():
            self._scored.cancel()
            raise self._turns.late(_BETWEEN)
        return self._scored.result()

    async def _next(self, number: int, options: Mapping[str, Any]) -> Job:
        async def submit() -> Job:
            self._turns.check(_BETWEEN)
            return self._submit(number, {**options, "deadline": self._turns.left})

        return await self._turns.submitted(submit)
