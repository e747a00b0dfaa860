"""An engine without networks for tests of evaluations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fgdm.errors import RequestError
from fgdm.factor_result import Candidate, FactorResult
from fgdm.result import EngineInfo, Result
from fgdm.train.classes import CLASSES, TOLERANCE
from PIL import Image

SCENES = Path(__file__).parents[2] / "bundles/scenes"
COLORS = np.array([entry.color for entry in CLASSES], np.uint8)


class FakeEngine:
    """Makes pictures and maps of noise at once, the same for the same prompt, seed and options.

    before: called with the number of each request before it is answered.
    """

    def __init__(self) -> None:
        self.manifest = json.loads((SCENES / "manifest.json").read_text())
        self.palette: dict[str, Any] = {
            "name": "scenes",
            "tolerance": TOLERANCE,
            "classes": [{"name": one.name, "color": list(one.color)} for one in CLASSES],
        }
        self.classes = [one.name for one in CLASSES]
        self.info = EngineInfo("0", "scenes", "fake", "fp32", "none")
        self.calls: list[dict[str, Any]] = []
        self.before: Callable[[int], None] = lambda number: None

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, prompt: str, **options: Any) -> Any:
        self.before(len(self.calls))
        self.calls.append({"prompt": prompt, **options})
        result = self._result(prompt, **options)
        return SimpleNamespace(
            result=lambda: result, cancel=lambda: None, wait=lambda: True, done=lambda: True
        )

    def _result(
        self,
        prompt: str,
        *,
        seed: int,
        candidates: int = 10,
        objects: tuple[str, ...] | None = None,
        **options: Any,
    ) -> Result:
        known = json.dumps(options, sort_keys=True)
        rng = np.random.default_rng([seed, *prompt.encode(), *known.encode()])
        if objects is not None and set(objects) - set(self.classes):
            raise RequestError(f"no class {objects}")
        wanted = tuple(objects or ("dog",))
        made = []
        for index in range(candidates):
            labels = rng.integers(0, len(CLASSES), (8, 8)).astype(np.uint8).repeat(8, 0)
            labels = labels.repeat(8, 1)
            found = tuple(name for name in wanted if rng.random() < 0.7)
            made.append(
                Candidate(
                    index=index,
                    seed=seed,
                    recall=len(found) / len(wanted),
                    found=found,
                    missing=tuple(name for name in wanted if name not in found),
                    smallest_area=0.1,
                    map=Image.fromarray(COLORS[labels]),
                    labels=labels,
                    steps=6,
                    pruned=False,
                    failed=False,
                )
            )
        chosen = int(np.argmax([one.recall for one in made]))
        factor = FactorResult(
            candidates=tuple(made),
            chosen=chosen,
            given=False,
            requested=wanted,
            excluded=(),
            unknown_pixels=0,
            truncated="",
            negative_truncated="",
            timings={},
        )
        return Result(
            prompt=prompt,
            image=Image.fromarray(rng.integers(0, 256, (128, 128, 3)).astype(np.uint8)),
            factors={"segmentation": factor},
            requested=wanted,
            excluded=(),
            unread=(),
            unrecognized=(),
            unrecognized_omitted=0,
            truncated="",
            negative_truncated="",
            chosen=chosen,
            candidates=tuple(made),
            seed=seed,
            map_rows=2 * candidates,
            timings={},
            parameters={"min_area": 0.002, **options},
            engine=self.info,
            colors={},
        )


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()
