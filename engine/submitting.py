"""How a request of any kind reaches the core, and what it results in comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fgdm import arrays, open_engines, request, values
from fgdm.errors import RequestError
from fgdm.factor_result import Candidate, MapInfo
from fgdm.job import CallbackGuard, Job, MapCallback, R, SelectGuard, StepCallback
from fgdm.requirements import Reading
from fgdm.result import Color, EngineInfo, Result

if TYPE_CHECKING:
    from fgdm import _core
    from fgdm.watermark import Watermark


class Submitter:
    """The part of an Engine that all of its requests go through."""

    info: EngineInfo
    watermark: Watermark | None
    _engine: _core.Engine | None
    _manifest: dict[str, Any]
    _factors: list[str]
    _colors: dict[str, Color]

    def _open(self) -> _core.Engine:
        if self._engine is None:
            raise RequestError("this engine is closed; open the bundle again with fgdm.Engine(...)")
        return self._engine

    def _result_of(
        self, prompt: str, options: Mapping[str, Any]
    ) -> Callable[[_core.Result], Result]:
        """Makes the result of a request for that prompt of the core's, and marks its image.

        options: of the request. RequestError for a picture that can't get the watermark.
        """
        mark = self.watermark
        if mark is not None:
            if options.get("keep_on_device"):
                raise RequestError(
                    "keep_on_device is given, but this engine marks pictures with a watermark, "
                    "which the host does; leave one of the two out"
                )
            image = self._manifest["factors"][-1]
            height, width = (options.get(side) or image[side] for side in ("height", "width"))
            if isinstance(height, int) and isinstance(width, int):  # the core says what else is
                mark.check_size(width, height)

        def result_of(core: _core.Result) -> Result:
            result = Result.from_core(core, prompt, self.info, self._colors, self._factors)
            if mark is None:
                return result
            return replace(result, image=mark.mark(result.image), watermark=mark.text)

        return result_of

    def _submit(
        self,
        prompt: str,
        options: dict[str, object],
        convert: Callable[[_core.Result], R],
        editing: dict[str, object] | None = None,
        *,
        step_callback: StepCallback | None = None,
        map_callback: MapCallback | None = None,
    ) -> Job[R]:
        """Queues a request. convert: makes what it results in of the core's result."""
        engine = self._open()
        callbacks: dict[str, CallbackGuard] = {}
        if step_callback is not None:
            callbacks["step_callback"] = CallbackGuard("step_callback", step_callback)
        if map_callback is not None:
            callbacks["map_callback"] = CallbackGuard(
                "map_callback", map_callback, MapInfo.from_core
            )
        guards = list(callbacks.values())
        words = values.text("prompt", prompt)
        reading = options.get("requirements")
        if isinstance(reading, Reading):
            options = {**options, "requirements": reading.requirements}
        checked: dict[str, Any] = request.checked(arrays.brought(options, engine.take_array))
        if callable(select := checked.get("select")):
            chooser = SelectGuard("select", select, Candidate.from_core)
            guards.append(chooser)
            checked |= {"select": "callable", "select_callback": chooser.choose}
        with open_engines.call():
            core_job = engine.submit(words, editing=editing, **callbacks, **checked)

        def converted(core: _core.Result) -> R:
            result = convert(core)
            if isinstance(result, Result) and isinstance(reading, Reading):
                # Not result.image, which would be copied to the host.
                return replace(result, image=result.kept or result.image, reading=reading)
            return result

        return Job(core_job, converted, guards, slow=self.watermark is not None)
