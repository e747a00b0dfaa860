"""An engine that the command line can be tried with."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from fgdm.result import Result

MakeResult = Callable[..., Result]


class FakeEngine:
    """Answers every request with one result, or raises."""

    def __init__(self, result: Result, error: BaseException | None = None) -> None:
        self.result = result
        self.error = error
        self.calls: list[dict[str, Any]] = []
        self.manifest = {
            "factors": [
                {"name": "segmentation", "kind": "condition", "palette": "palette.json"},
                {"name": "depth", "kind": "condition"},
                {"name": "image", "kind": "image"},
            ]
        }

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def generate(self, prompt: str, **parameters: Any) -> Result:
        self.calls.append({"prompt": prompt, **parameters})
        callback = parameters["step_callback"]
        if callback is not None:
            for step in range(2):
                callback(SimpleNamespace(factor="image", step=step, num_steps=2, candidates=[0]))
        if self.error is not None:
            raise self.error
        return self.result
