"""Jobs of which each begins with what the one before made, as one job: an edit by inversion."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from fgdm.inversion import Inversion
from fgdm.result import Result
from fgdm.ways import Stage

from .turns import Turns

if TYPE_CHECKING:
    from fgdm.job import Job
    from PIL import Image


@dataclass(frozen=True, eq=False)
class Edited(Result):
    """What an edit by inversion made.

    edited_factor: whose map was edited; "" where the picture itself was. map_before: that map, as
    it was inverted. rows: backbone rows of all its jobs, at most. timings: of all of them by stage;
    the total has what inversions took, too.
    """

    edited_factor: str = ""
    map_before: Image.Image | None = None
    rows: int = 0

    @property
    def map_after(self) -> Image.Image | None:
        """The edited map; None where the picture itself was edited."""
        return self.factors[self.edited_factor].map if self.map_before is not None else None


class StagedJob:
    """The jobs of a picture. For the event loop, where it is awaited and cancelled as a Job is.

    callbacks: those that a stage's job takes, by its name. deadline: seconds for all of them.
    Raises, when it is made, what submitting the first raises.
    """

    def __init__(
        self,
        stages: Generator[Stage, Any, Result],
        image_factor: str,
        callbacks: Callable[[str], dict[str, Any]],
        deadline: float | None,
    ) -> None:
        self._stages, self._image_factor, self._callbacks = stages, image_factor, callbacks
        self._deadline, self._turns = deadline, Turns(deadline)
        self._made: list[Inversion | Result] = []
        self._job = self._submitted(next(stages))

    def cancel(self) -> None:
        """Stops the job that is at work after the batch it is running; no other follows."""
        self._turns.cancelled = True
        self._job.cancel()

    def __await__(self) -> Generator[Any, None, Edited]:
        return self._end().__await__()

    async def _end(self) -> Edited:
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._made.append(await self._job)
                following = await loop.run_in_executor(None, self._following)
                if isinstance(following, Result):
                    return self._edited(following)
                begin = partial(loop.run_in_executor, None, self._submitted, following)
                self._job = await self._turns.submitted(begin)
        except asyncio.CancelledError:
            self.cancel()
            raise

    def _following(self) -> Stage | Result:
        """Not on the event loop: it looks at every pixel."""
        try:
            return self._stages.send(self._made[-1])
        except StopIteration as end:
            result: Result = end.value
            return result

    def _submitted(self, stage: Stage) -> Job[Any]:
        more: dict[str, Any] = self._callbacks(stage.name)
        left = self._deadline  # the engine checks what was asked
        if self._made:
            self._turns.check(f"before the {stage.name} began")
            left = self._turns.left
        job = stage.submit(**more, **({} if left is None else {"deadline": left}))
        if self._turns.cancelled:  # meanwhile
            job.cancel()
        return job

    def _edited(self, last: Result) -> Edited:
        inverted = self._made[0]
        assert isinstance(inverted, Inversion)
        is_map = inverted.factor != self._image_factor
        timings: dict[str, float] = {}
        for result in self._made:
            if isinstance(result, Result):
                for stage, seconds in result.timings.items():
                    timings[stage] = timings.get(stage, 0.0) + seconds
        timings["total"] = max(0.0, self._turns.passed - timings.get("queue", 0.0))
        return Edited(
            **{**vars(last), "timings": timings},
            edited_factor=inverted.factor if is_map else "",
            map_before=inverted.picture if is_map else None,
            rows=sum(_rows(made, self._image_factor) for made in self._made),
        )


def _rows(made: Inversion | Result, image_factor: str) -> int:
    if isinstance(made, Inversion):
        return len(made.visited) * (2 if made.guidance_scale > 1.0 else 1)
    steps: Any = made.parameters["num_inference_steps"]
    editing: Any = made.parameters.get("editing")
    each = 2
    if editing and editing["factor"] == image_factor:
        each = len(editing["edits"]) + (2 if editing["guidance_scale"] > 1.0 else 1)
    return made.map_rows + each * int(steps)
